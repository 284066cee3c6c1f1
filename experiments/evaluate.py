"""Evaluates weights on a test set: python -m experiments.evaluate runs/mine."""

import sys
from collections.abc import Sequence

from experiments.inference.config import EvaluateConfig
from experiments.inference.names import is_pretrained
from experiments.program.start import announce, start
from experiments.settings.fields import from_dict
from experiments.settings.parser import About, parse_flags
from jax_resnet.pretrained import read_card

ABOUT = About(
    "Evaluates weights on a whole test set, each image counted once.",
    examples=(
        "python -m experiments.evaluate runs/mine",
        "python -m experiments.evaluate resnet20.cifar10",
        "python -m experiments.evaluate resnet20.safetensors --arch resnet20",
    ),
)


def main(args: Sequence[str] | None = None) -> None:
    """Parses the flags and evaluates."""
    args = sys.argv[1:] if args is None else args
    program, default = "python -m experiments.evaluate", EvaluateConfig()
    config = parse_flags(EvaluateConfig, program, ABOUT, args, default)
    if is_pretrained(config.named):  # the data set of its card, unless a flag names another
        default = from_dict(EvaluateConfig, {"dataset": read_card(config.named).dataset})
        config = parse_flags(EvaluateConfig, program, ABOUT, args, default)
    config.check()
    announce(None, f"loading {config.named} and {config.dataset} ...")

    from experiments.inference.evaluate import evaluate_weights
    from experiments.program.console import Console

    evaluate_weights(config, Console())


if __name__ == "__main__":
    start(main)
