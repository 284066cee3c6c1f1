"""Evaluates weights on a test set: python -m experiments.evaluate --weights runs/mine."""

import sys
from collections.abc import Sequence

from experiments.inference.config import EvaluateConfig
from experiments.program.start import announce, start
from experiments.settings.parser import About, parse_flags

ABOUT = About(
    "Evaluates weights on a whole test set, each image counted once.",
    examples=(
        "python -m experiments.evaluate --weights runs/mine",
        "python -m experiments.evaluate --weights resnet20.safetensors --arch resnet20",
    ),
)


def main(args: Sequence[str] | None = None) -> None:
    """Parses the flags and evaluates."""
    args = sys.argv[1:] if args is None else args
    config = parse_flags(EvaluateConfig, "python -m experiments.evaluate", ABOUT, args, EvaluateConfig())
    config.check()
    announce(None, f"loading {config.weights} and {config.dataset} ...")

    from experiments.inference.evaluate import evaluate_weights
    from experiments.program.console import Console

    evaluate_weights(config, Console())


if __name__ == "__main__":
    start(main)
