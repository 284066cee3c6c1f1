"""Evaluates weights on a test set: python -m experiments.evaluate runs/mine."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.inference.config import EvaluateConfig
from experiments.inference.names import is_pretrained, is_there
from experiments.program.start import announce, start
from experiments.settings.effects import check_effects
from experiments.settings.fields import from_dict
from experiments.settings.parser import About, parse_flags
from experiments.settings.resume import read_config, saved_config
from jax_resnet.pretrained import read_card

ABOUT = About(
    "Evaluates weights on a whole test set, each image counted once.",
    examples=(
        "python -m experiments.evaluate runs/mine",
        "python -m experiments.evaluate resnet20.cifar10",
        "python -m experiments.evaluate resnet20.safetensors --arch resnet20",
    ),
)


def trained_on(weights: str) -> dict[str, Any]:
    """The data behind pretrained weights, a run or a checkpoint, where it is here; else nothing."""
    if is_pretrained(weights):
        return {"dataset": read_card(weights).dataset}
    folder = Path(weights)
    run = (saved_config(folder) or read_config(folder / "config" / "metadata")) if weights else None
    if run is None:
        return {}
    places = {"data_dir": run.data.data_dir, "archive": run.data.archive}
    there = {name: place for name, place in places.items() if place and is_there(place)}
    return {"dataset": run.data.dataset, "skip_unreadable": run.data.skip_unreadable, **there}


def main(args: Sequence[str] | None = None) -> None:
    """Parses the flags and evaluates."""
    args = sys.argv[1:] if args is None else args
    program = "python -m experiments.evaluate"
    config = parse_flags(EvaluateConfig, program, ABOUT, args, EvaluateConfig())
    default = from_dict(EvaluateConfig, trained_on(config.named))
    on_its_data = parse_flags(EvaluateConfig, program, ABOUT, args, default)
    if on_its_data.dataset == default.dataset:  # no flag names other data
        config = on_its_data
    config.check()
    check_effects(config, args)
    announce(None, f"loading {config.named} and {config.dataset} ...")

    from experiments.inference.evaluate import evaluate_weights
    from experiments.program.console import Console

    evaluate_weights(config, Console())


if __name__ == "__main__":
    start(main)
