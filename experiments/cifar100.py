"""Trains a network on CIFAR-100: python -m experiments.cifar100 --arch resnet110 --recipe paper."""

from collections.abc import Sequence

from experiments.program.start import start
from experiments.training.cli import train_command


def main(args: Sequence[str] | None = None) -> None:
    """Parses the flags and runs."""
    train_command(
        "experiments.cifar100",
        "cifar100",
        "Trains a network on CIFAR-100, chooses a checkpoint on held-out images, and tests it.",
        args,
    )


if __name__ == "__main__":
    start(main)
