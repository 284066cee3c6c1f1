"""The settings of evaluation and prediction. These classes are the command lines: a field is a flag."""

import dataclasses
from typing import Literal

from experiments.program.errors import ConfigError
from experiments.settings.datasets import DataSource, check_pixels
from experiments.settings.fields import check_ranges, setting


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """Network in a file."""

    arch: str | None = setting(
        None, "Network, where the weights are a file; a run knows its own.", common=True
    )
    stem: Literal["cifar", "imagenet", "imagenet_d"] = setting("cifar", "First layers.")
    shortcut: Literal["default", "A", "B", "C", "D", "none"] = setting("default", "Shortcuts.")
    variant: str | None = setting(None, "Form of the network: pytorch_cifar or blog.", metavar="NAME")
    which: Literal["best", "last"] = setting("best", "Checkpoint of a run.", common=True)


@dataclasses.dataclass(frozen=True)
class EvaluateConfig(DataSource):
    """Evaluation."""

    weights: str = setting(
        "",
        "Run folder, exported checkpoint, or .safetensors, .pth, .th or .pt file.",
        common=True,
        metavar="PATH",
    )
    network: NetworkConfig = dataclasses.field(default_factory=NetworkConfig)
    image_size: int = setting(
        0, "folder, imagenet2012: height and width of the images (default: the run's, or 224).", at_least=0
    )
    mean: tuple[float, ...] = setting(
        (), "Per-channel mean of pixels scaled to [0, 1] (default: the run's, or the data set's)."
    )
    std: tuple[float, ...] = setting(
        (),
        "Per-channel standard deviation of pixels scaled to [0, 1] (default: the run's, or the data set's).",
    )
    tta: Literal["none", "flip"] = setting(
        "none", "Test-time augmentation: flip averages probabilities over each image and its mirror image."
    )
    batch_size: int = setting(500, "Images per step; the results do not depend on it.", above=0)
    out: str | None = setting(
        None,
        "Folder for evaluation.json and confusion.png (default: evaluations/ARCH-DATASET).",
        common=True,
        metavar="FOLDER",
    )
    overwrite: bool = setting(False, "Replace an evaluation in that folder.", common=True)

    def check(self) -> None:
        """Finds invalid settings before anything is read.

        Raises:
            ConfigError: Naming the flag.
        """
        check_ranges(self)
        if not self.weights:
            raise ConfigError("--weights PATH is needed: a run folder, a .safetensors, .pth, .th or .pt file")
        super().check()
        check_pixels(self.mean, self.std)


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """Prediction."""

    checkpoint: str = setting(
        "",
        "Run folder, exported checkpoint, or with --arch a .safetensors, .pth, .th or .pt file.",
        positional=True,
        metavar="CHECKPOINT",
    )
    images: tuple[str, ...] = setting(
        (),
        "Image files, folders with all below them, or - for a list on standard input, one path per line.",
        positional=True,
        metavar="IMAGE",
    )
    top: int = setting(3, "Classes to name for each image.", at_least=1, common=True)
    json: bool = setting(False, "Print JSON instead of a table.", common=True)
    batch_size: int = setting(100, "Images per step.", above=0)
    dataset: Literal["cifar10", "cifar100", "mnist", "digits"] = setting(
        "cifar10", "Data set whose classes and image size are used where the checkpoint names none."
    )
    network: NetworkConfig = dataclasses.field(default_factory=NetworkConfig)
    mean: tuple[float, ...] = setting(
        (), "Per-channel mean of pixels scaled to [0, 1] (default: as the network was trained)."
    )
    std: tuple[float, ...] = setting(
        (), "Per-channel standard deviation of pixels scaled to [0, 1] (default: as the network was trained)."
    )

    def check(self) -> None:
        """Finds invalid settings before anything is read.

        Raises:
            ConfigError: Naming the flag or argument.
        """
        check_ranges(self)
        if not self.checkpoint:
            raise ConfigError("which network? name a run folder, then images")
        if not self.images:
            raise ConfigError("which images? name files or folders, or - for a list on standard input")
        check_pixels(self.mean, self.std)
