"""Trains a network on CIFAR-10: python -m experiments.cifar10 --arch resnet20 --recipe quick."""

import sys
from collections.abc import Sequence

from experiments.start import start


def main(args: Sequence[str] | None = None) -> None:
    """Parses the flags and runs."""
    from experiments.cli import parse
    from experiments.console import Console
    from experiments.run import run

    config = parse(
        "python -m experiments.cifar10",
        "Trains a residual network on CIFAR-10 and tests it once, at the end.",
        sys.argv[1:] if args is None else args,
    )
    run(config, Console())


if __name__ == "__main__":
    start(main)
