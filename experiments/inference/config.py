"""The settings of evaluation and prediction. These classes are the command lines: a field is a flag."""

import dataclasses
from pathlib import Path
from typing import Literal

from experiments.inference.names import check_exists
from experiments.program.errors import ConfigError
from experiments.settings.config import SHORTCUT_HELP, STEM_HELP
from experiments.settings.datasets import DataSource, check_pixels
from experiments.settings.fields import check_ranges, flag_of, setting
from jax_resnet.pretrained.schema import NAME

__all__ = ["EvaluateConfig", "ExportConfig", "NetworkConfig", "PredictConfig", "PublishConfig"]


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """Network in a file."""

    arch: str | None = setting(
        None, "Network, where the weights are a file; runs and pretrained weights know theirs.", common=True
    )
    stem: Literal["cifar", "imagenet", "imagenet_d"] = setting("cifar", STEM_HELP)
    shortcut: Literal["default", "A", "B", "C", "D", "none"] = setting("default", SHORTCUT_HELP)
    variant: str | None = setting(
        None,
        "ResNeXt of a public code base: pytorch_cifar (resnext29_*) or blog (resnext50_*, resnext101_*).",
        metavar="NAME",
    )
    which: Literal["best", "last"] = setting("best", "Checkpoint of a run.", common=True)


@dataclasses.dataclass(frozen=True)
class EvaluateConfig(DataSource):
    """Evaluation."""

    source: str = setting(
        "",
        "Run folder, exported checkpoint, file of weights (.safetensors, .pth, .th, .pt), or name of "
        "pretrained weights.",
        positional=True,
        metavar="WEIGHTS",
    )
    weights: str = setting("", "Weights, as a flag instead of an argument.", common=True, metavar="WEIGHTS")
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
    class_map: tuple[str, ...] = setting(
        (),
        "Classes of the data that the weights call otherwise, each as DATA=WEIGHTS, such as 01=1.",
        metavar="MAP",
    )
    tta: Literal["none", "flip", "flip-shift"] = setting(
        "none",
        "Test-time augmentation: flip averages probabilities over each image and its mirror image; "
        "flip-shift over both as they are (half of the weight), a pixel up and left, and a pixel down and "
        "right (Jordan 2024, section 3.5).",
    )
    batch_size: int = setting(500, "Images per step; the results do not depend on it.", above=0)
    out: str | None = setting(
        None,
        "Folder for evaluation.json and confusion.png (default: evaluations/WEIGHTS-DATASET, then --tta).",
        common=True,
        metavar="FOLDER",
    )
    overwrite: bool = setting(False, "Replace an evaluation in that folder.", common=True)

    @property
    def named(self) -> str:
        """The weights, however they are named."""
        return self.source or self.weights

    def check(self) -> None:
        """Finds invalid settings before anything is read.

        Raises:
            ConfigError: Naming the flag.
        """
        check_ranges(self)
        if not self.named:
            raise ConfigError(
                "which weights? name a run folder, a .safetensors, .pth, .th or .pt file, or pretrained ones"
            )
        if self.source and self.weights:
            raise ConfigError(f"name one network: {self.source}, or --weights {self.weights}")
        check_exists(self.named, "--weights " if self.weights else "")
        super().check()
        check_pixels(self.mean, self.std)


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """Prediction."""

    weights: str = setting(
        "",
        "Run folder, exported checkpoint, name of pretrained weights, or with --arch a file of weights.",
        positional=True,
        metavar="WEIGHTS",
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
    image_size: int = setting(
        0,
        "Height and width of the center of each image that the network sees (default: the run's; of a file, "
        "224 with an ImageNet stem, else the data set's).",
        at_least=0,
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
        if not self.weights:
            raise ConfigError("which network? name a run folder or pretrained weights, then images")
        if not self.images:
            raise ConfigError("which images? name files or folders, or - for a list on standard input")
        check_exists(self.weights, "")
        check_pixels(self.mean, self.std)


# Flags of an export that only some formats have a use for.
FOR_FORMATS = {
    **dict.fromkeys(("image_shape", "mean", "std"), ("stablehlo", "onnx")),
    "style": ("safetensors", "torch"),
}


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """Export of a trained network."""

    source: str = setting(
        "",
        "Run folder, exported checkpoint, name of pretrained weights, or with --arch a file of weights.",
        positional=True,
        metavar="WEIGHTS",
    )
    format: Literal["stablehlo", "onnx", "safetensors", "torch", "orbax"] | None = setting(
        None,
        "stablehlo runs where only JAX is, on CPU, CUDA and TPU; onnx in onnxruntime; safetensors and torch "
        "are a state_dict; orbax is a checkpoint.",
        common=True,
    )
    out: str | None = setting(
        None, "File to write, for orbax a folder; it must not exist.", common=True, metavar="PATH"
    )
    fold: bool = setting(
        False, "Fold BatchNorm into the convolutions: fewer operations, the same logits.", common=True
    )
    network: NetworkConfig = dataclasses.field(default_factory=NetworkConfig)
    style: str = setting(
        "torchvision",
        "safetensors, torch: names of torchvision, timm, pytorch_cifar, akamaster, seminar or blog.",
        metavar="NAME",
    )
    image_shape: tuple[int, ...] = setting(
        (), "stablehlo, onnx: height, width, channels of images (default: the training data's).", at_least=1
    )
    mean: tuple[float, ...] = setting(
        (),
        "stablehlo, onnx: per-channel mean of pixels scaled to [0, 1] (default: as in training). With --mean "
        "and --std images are uint8; where neither is known they are float32, normalized already.",
    )
    std: tuple[float, ...] = setting(
        (), "stablehlo, onnx: per-channel standard deviation of pixels scaled to [0, 1]."
    )

    def check(self) -> None:
        """Finds invalid settings before anything is read.

        Raises:
            ConfigError: Naming the flag or argument.
        """
        check_ranges(self)
        if not self.source:
            raise ConfigError("which network? name a run folder, an exported checkpoint or a file of weights")
        check_exists(self.source, "")
        if self.format is None:
            raise ConfigError("--format is needed: stablehlo, onnx, safetensors, torch or orbax")
        if not self.out:
            raise ConfigError("--out PATH is needed: what to write")
        if Path(self.out).exists():
            raise ConfigError(f"--out {self.out} exists already: name another")
        endings = {"safetensors": (".safetensors",), "torch": (".pth", ".pt", ".bin", ".ckpt", ".th")}
        if not self.out.lower().endswith(ends := endings.get(self.format, ("",))):
            raise ConfigError(f"--out {self.out} must end in {' or '.join(ends)} for {self.format}")
        check_pixels(self.mean, self.std)
        for name, forms in FOR_FORMATS.items():
            if self.format not in forms and getattr(self, name) != getattr(ExportConfig(), name):
                raise ConfigError(f"{flag_of(name)} is for {' and '.join(forms)}, not for {self.format}")
        if self.image_shape and len(self.image_shape) != 3:
            raise ConfigError("--image-shape is height, width and channels: --image-shape 32 32 3")


@dataclasses.dataclass(frozen=True)
class PublishConfig:
    """Publishing a run's weights with the package."""

    run: str = setting("", "Folder of a finished run.", positional=True, metavar="RUN")
    name: str | None = setting(
        None, "Name to load the weights by (default: ARCH.DATASET, such as resnet20.cifar10).", common=True
    )
    half: bool = setting(
        False,
        "Store kernels as float16, half the size; refused where the test accuracy is lower than in float32.",
        common=True,
    )
    overwrite: bool = setting(False, "Replace the weights of that name.", common=True)
    data_dir: str | None = setting(
        None, "Where data sets are kept (default: TFDS's folder).", common=True, metavar="FOLDER"
    )
    archive: str | None = setting(None, "Original archive of the data set to read instead.", metavar="PATH")
    commit: str | None = setting(None, "Commit that trained it, where the run recorded none.", metavar="SHA")
    command: str | None = setting(
        None, "Command that trained it, where the run's settings are not those of one."
    )
    folder: str | None = setting(None, "Where to write (default: jax_resnet/pretrained).", metavar="FOLDER")

    def check(self) -> None:
        """Finds invalid settings before anything is read.

        Raises:
            ConfigError: Naming the flag or argument.
        """
        check_ranges(self)
        if not self.run:
            raise ConfigError("which run? name the folder of a finished one")
        if not Path(self.run).is_dir():
            raise ConfigError(f"{self.run} is not a folder: name that of a finished run")
        if self.name is not None and not NAME.fullmatch(self.name):
            raise ConfigError(
                f"--name {self.name} is not small letters, digits, _ and at least one dot: resnet20.cifar10"
            )
        if self.folder is not None and not Path(self.folder).is_dir():
            raise ConfigError(f"--folder {self.folder} is not a folder")
