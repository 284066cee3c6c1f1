"""Compares networks: python -m experiments.compare --members mnist_cnn vgg16 --dataset mnist.

A comparison is data: its members, on which data, by which recipe. They are trained one after another, each
in its own folder; the same command again continues, and it ends in a report.
"""

import sys
from collections.abc import Sequence
from typing import NamedTuple

from experiments.program.start import start


class Comparison(NamedTuple):
    """What is compared.

    Attributes:
        module: The program's, as ``python -m`` takes it.
        title: The report's heading.
        about: What the program does, in a sentence.
        members: Names of the networks, unless ``--members`` says otherwise.
        recipe: Unless ``--recipe`` says otherwise; None for the data set's own.
        dataset: Unless ``--dataset`` says otherwise.
    """

    module: str
    title: str
    about: str
    members: tuple[str, ...] = ()
    recipe: str | None = None
    dataset: str = "cifar10"


def compare(comparison: Comparison, args: Sequence[str] | None) -> None:
    """Parses the flags, runs what is not finished, and writes the report into the folder ``report``.

    Args:
        comparison: What is compared.
        args: The flags; None for the command line's.

    Raises:
        ConfigError: A setting that cannot be.
    """
    from experiments.training.compare import compare_networks

    compare_networks(comparison, sys.argv[1:] if args is None else args)


def main(args: Sequence[str] | None = None) -> None:
    """Compares what the flags say."""
    compare(
        Comparison(
            "experiments.compare",
            "A comparison",
            "Trains networks on the same data with the same settings, and reports how they compare.",
        ),
        args,
    )


if __name__ == "__main__":
    start(main)
