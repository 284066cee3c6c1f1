"""Exports a trained network: python -m experiments.export runs/mine --format onnx --out mine.onnx."""

import dataclasses
import sys
from collections.abc import Sequence
from typing import Annotated, Literal

import tyro

from experiments.program.start import start

__all__ = ["ExportConfig", "main"]


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """Which network, in which format."""

    source: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN|FILE")] = ""
    """A run's folder, an exported checkpoint, or with --arch a file of weights (.safetensors, .pth, ...)."""
    format: Literal["stablehlo", "onnx", "safetensors", "torch", "orbax"] | None = None
    """stablehlo: runs in a process that has only JAX, on CPU, CUDA and TPU. onnx: runs in onnxruntime.
    safetensors, torch: a state_dict with the names of --style. orbax: a checkpoint of this library."""
    out: str | None = None
    """File to write, for orbax a folder; it must not exist."""
    fold: bool = False
    """Fold BatchNorm into the convolutions: fewer operations, the same logits."""
    style: str = "torchvision"
    """safetensors, torch: whose names: torchvision, timm, pytorch_cifar, akamaster, seminar or blog."""
    which: Literal["best", "last"] = "best"
    """Which checkpoint of a run."""
    arch: str | None = None
    """The network, for a file of weights; a checkpoint names its own."""
    stem: Literal["cifar", "imagenet", "imagenet_d"] = "cifar"
    """The network's first layers, for a file of weights."""
    shortcut: Literal["default", "A", "B", "C", "D", "none"] = "default"
    """The network's shortcuts, for a file of weights."""
    variant: str | None = None
    """The network's variant, for a file of weights: pytorch_cifar or blog."""
    image_shape: tuple[int, ...] = ()
    """stablehlo, onnx: height, width and channels of the images; default: those of the training data."""
    mean: tuple[float, ...] = ()
    """stablehlo, onnx: per-channel mean of pixels scaled to [0, 1]; default: as in training. With --mean and
    --std images are uint8, without both they are float32 and normalized already."""
    std: tuple[float, ...] = ()
    """stablehlo, onnx: per-channel standard deviation of pixels scaled to [0, 1]."""


def main(args: Sequence[str] | None = None) -> None:
    """Parses the flags and exports."""
    from experiments.settings.flags import parse_flags

    config = parse_flags(
        ExportConfig,
        "python -m experiments.export",
        "Writes a trained network as a file for other programs: with its weights and, for stablehlo and "
        "onnx, with the normalization of its images.",
        sys.argv[1:] if args is None else args,
        ExportConfig(),
    )
    from experiments.inference.export import check, export

    check(config)
    print(export(config))


if __name__ == "__main__":
    start(main)
