"""Compares networks: python -m experiments.compare --members mnist_cnn vgg16 --dataset mnist."""

from collections.abc import Sequence

from experiments.program.start import start
from experiments.training.compare import Comparison, compare

COMPARISON = Comparison(
    module="experiments.compare",
    title="A comparison",
    summary="Trains networks on the same data with the same settings, and reports how they compare.",
)


def main(args: Sequence[str] | None = None) -> None:
    """Compares the networks that the flags name."""
    compare(COMPARISON, args)


if __name__ == "__main__":
    start(main)
