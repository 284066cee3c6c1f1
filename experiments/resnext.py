"""ResNeXt against ResNet at 50 and 101 layers: python -m experiments.resnext.

On CIFAR-10 by default, with the networks' stem for small images. With --stem imagenet --data-dir FOLDER on
the images in a folder, with --dataset imagenet2012 on ImageNet.
"""

import sys
from collections.abc import Sequence

from experiments.program.start import start
from experiments.settings.datasets import STREAMED_DATASETS
from experiments.settings.flags import peek
from experiments.training.compare import Comparison, compare

RESNEXT = Comparison(
    module="experiments.resnext",
    title="ResNeXt 32x4d against ResNet: equal depth, about equal numbers of parameters",
    summary="Trains ResNet-50 and -101 and ResNeXt-50 and -101 with 32 groups (Xie et al. 2017) for the same "
    "100 epochs.",
    members=("resnet50", "resnext50_32x4d", "resnet101", "resnext101_32x4d"),
    recipe="tutorial-004",
)
RESNEXT_IMAGENET = RESNEXT._replace(recipe="tutorial-004-imagenet", dataset="folder")


def choose_comparison(args: Sequence[str]) -> Comparison:
    """The comparison of small images, or of large ones, as the flags name the data."""
    given = peek(args)
    large = given.dataset in STREAMED_DATASETS if given.dataset else given.stem not in (None, "cifar")
    return RESNEXT_IMAGENET if large else RESNEXT


def main(args: Sequence[str] | None = None) -> None:
    """Parses the flags and compares."""
    args = sys.argv[1:] if args is None else args
    compare(choose_comparison(args), args)


if __name__ == "__main__":
    start(main)
