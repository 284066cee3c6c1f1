"""Exports a trained network: python -m experiments.export runs/mine --format onnx --out mine.onnx."""

import sys
from collections.abc import Sequence

from experiments.inference.config import ExportConfig
from experiments.program.start import start
from experiments.settings.parser import About, parse_flags

ABOUT = About(
    "Writes a trained network as a file for other programs: with its weights and, for stablehlo and onnx, "
    "with the normalization of its images.",
    examples=(
        "python -m experiments.export runs/mine --format stablehlo --out mine.stablehlo",
        "python -m experiments.export runs/mine --format onnx --fold --out mine.onnx",
        "python -m experiments.export resnet20.cifar10 --format torch --out resnet20.pth",
        "python -m experiments.export resnet20.th --arch resnet20 --format safetensors --out a.safetensors",
    ),
)


def main(args: Sequence[str] | None = None) -> None:
    """Parses the flags and exports."""
    args = sys.argv[1:] if args is None else args
    config = parse_flags(ExportConfig, "python -m experiments.export", ABOUT, args, ExportConfig())
    config.check()

    from experiments.inference.export import export

    print(export(config))


if __name__ == "__main__":
    start(main)
