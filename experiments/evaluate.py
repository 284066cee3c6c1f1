"""Evaluates weights on a test set: python -m experiments.evaluate --arch resnet20 --weights FILE."""

import dataclasses
import sys
from collections.abc import Sequence
from typing import Literal

from experiments.program.start import start


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """What to evaluate, on what."""

    weights: str = ""
    """A run's folder, an exported checkpoint, or a .safetensors, .pth, .th or .pt file."""
    arch: str | None = None
    """The network, where the weights are a file; a run knows its own."""
    stem: Literal["cifar", "imagenet", "imagenet_d"] = "cifar"
    """The network's first layers."""
    shortcut: Literal["default", "A", "B", "C", "D", "none"] = "default"
    """The network's shortcuts."""
    variant: str | None = None
    """Whose form of the network: pytorch_cifar, blog."""
    which: Literal["best", "last"] = "best"
    """Which of a run's checkpoints."""
    dataset: Literal["cifar10", "cifar100", "mnist", "digits", "folder", "imagenet2012"] = "cifar10"
    """Whose test set."""
    data_dir: str | None = None
    """Where data sets are kept, TFDS's own folder by default; for folder, what val/CLASS/*.jpg is in."""
    archive: str | None = None
    """A data set's original archive, or its extracted folder."""
    mirror: tuple[str, ...] = ()
    """URLs to try after the original host's."""
    mean: tuple[float, ...] = ()
    """Subtracted from pixels in [0, 1]; the run's, or the data set's own, by default."""
    std: tuple[float, ...] = ()
    """Divides them."""
    image_size: int = 0
    """folder, imagenet2012: height and width; by default the run's own, or 224."""
    workers: int = 2
    """folder, imagenet2012: processes that decode pictures; 0 for threads of this one."""
    tta: Literal["none", "flip"] = "none"
    """Test-time augmentation: flip averages the probabilities of the image and its mirror image."""
    batch_size: int = 500
    """Images a step; the numbers are exact whatever it is."""
    out: str | None = None
    """A folder for evaluation.json and confusion.png; evaluations/ARCH-DATASET by default."""
    overwrite: bool = False
    """Replace an evaluation in that folder."""


def main(args: Sequence[str] | None = None) -> None:
    """Parses the flags and evaluates."""
    from experiments.inference.evaluate import evaluate_weights
    from experiments.program.console import Console
    from experiments.settings.flags import parse_flags

    config = parse_flags(
        EvaluateConfig,
        "python -m experiments.evaluate",
        "Evaluates weights on a whole test set, each image counted once.",
        sys.argv[1:] if args is None else args,
        EvaluateConfig(),
    )
    evaluate_weights(config, Console())


if __name__ == "__main__":
    start(main)
