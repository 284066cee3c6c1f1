"""Publishes a run's weights with the package: python -m experiments.publish runs/cifar10-resnet20."""

import sys
from collections.abc import Sequence

from experiments.inference.config import PublishConfig
from experiments.program.start import start
from experiments.settings.parser import About, parse_flags

ABOUT = About(
    "Adds the weights that a finished run reports to those that the package ships, with a card. The test set "
    "is evaluated with the published file; the card has what that gives.",
    examples=(
        "python -m experiments.publish runs/cifar10-resnet32-fast-seed0",
        "python -m experiments.publish runs/mine --name resnet20.cifar10 --overwrite",
    ),
)


def main(args: Sequence[str] | None = None) -> None:
    """Parses the flags and publishes."""
    args = sys.argv[1:] if args is None else args
    config = parse_flags(PublishConfig, "python -m experiments.publish", ABOUT, args, PublishConfig())
    config.check()

    from experiments.inference.publish import publish
    from experiments.program.console import Console

    publish(config, Console())


if __name__ == "__main__":
    start(main)
