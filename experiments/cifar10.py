"""Trains a network on CIFAR-10: python -m experiments.cifar10 --arch resnet20 --recipe quick."""

from collections.abc import Sequence

from experiments.program.start import start
from experiments.training.cli import train_command


def main(args: Sequence[str] | None = None) -> None:
    """Parses the flags and runs."""
    train_command(
        "experiments.cifar10",
        "cifar10",
        "Trains a network on CIFAR-10, chooses a checkpoint on held-out images, and tests it.",
        args,
    )


if __name__ == "__main__":
    start(main)
