"""Classifies images: python -m experiments.predict runs/mine cat.jpg holiday/ --top 3."""

import sys
from collections.abc import Sequence

from experiments.inference.config import PredictConfig
from experiments.program.start import start
from experiments.settings.parser import About, parse_flags

ABOUT = About(
    "Classifies images of any format and size with a trained network. They are resized and cropped to what "
    "the network takes, and normalized as it was trained.",
    examples=(
        "python -m experiments.predict runs/mine cat.jpg holiday/ --top 3",
        "python -m experiments.predict resnet20.cifar10 cat.jpg",
        "find . -name '*.png' | python -m experiments.predict runs/mine - --json",
    ),
)


def main(args: Sequence[str] | None = None) -> None:
    """Parses the flags and predicts; exits with 1 where an image could not be read."""
    args = sys.argv[1:] if args is None else args
    config = parse_flags(PredictConfig, "python -m experiments.predict", ABOUT, args, PredictConfig())
    config.check()

    from experiments.inference.predict import predict_images

    if unreadable := predict_images(config):
        for path, reason in unreadable.items():
            print(f"error: {path}: {reason}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    start(main)
