"""Trains a network on MNIST: python -m experiments.mnist --arch mnist_preact_resnet --recipe tutorial-003."""

from collections.abc import Sequence

from experiments.program.start import start
from experiments.training.cli import train_command


def main(args: Sequence[str] | None = None) -> None:
    """Parses the flags and runs."""
    train_command(
        "experiments.mnist",
        "mnist",
        "Trains a network on MNIST, padded to 32x32 where the network asks, and tests it.",
        args,
    )


if __name__ == "__main__":
    start(main)
