"""Trains on ImageNet or any images: python -m experiments.imagenet --arch resnet50 --data-dir FOLDER."""

from collections.abc import Sequence

from experiments.program.start import start
from experiments.training.cli import train_command


def main(args: Sequence[str] | None = None) -> None:
    """Parses the flags and runs."""
    train_command(
        "experiments.imagenet",
        "folder",
        "Trains a network on images streamed from --data-dir FOLDER, which holds train/CLASS/*.jpg and "
        "val/CLASS/*.jpg (ImageNet unpacked, or any other images), or with --dataset imagenet2012 on what "
        "tensorflow-datasets prepared as ArrayRecord files.",
        args,
    )


if __name__ == "__main__":
    start(main)
