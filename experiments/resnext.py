"""ResNeXt against ResNet at 50 and 101 layers: python -m experiments.resnext.

On CIFAR-10 by default, with the networks' stem for small images; on images of any size with --stem imagenet.
"""

from collections.abc import Sequence

from experiments.compare import Comparison, compare
from experiments.start import start

RESNEXT = Comparison(
    module="experiments.resnext",
    title="ResNeXt 32x4d against ResNet: as many layers, about as many parameters",
    about="Trains ResNet-50 and -101 and ResNeXt-50 and -101 of 32 groups (Xie et al. 2017) for the same "
    "100 epochs.",
    members=("resnet50", "resnext50_32x4d", "resnet101", "resnext101_32x4d"),
    recipe="tutorial-004",
)


def main(args: Sequence[str] | None = None) -> None:
    """Parses the flags and compares."""
    compare(RESNEXT, args)


if __name__ == "__main__":
    start(main)
