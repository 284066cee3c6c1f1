"""Says what pictures show: python -m experiments.predict runs/mine cat.jpg holiday/ --top 3."""

import dataclasses
import sys
from collections.abc import Sequence
from typing import Annotated, Literal

import tyro

from experiments.program.start import start


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """Which network, which pictures."""

    checkpoint: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="CHECKPOINT")] = ""
    """A run's folder, an exported checkpoint, or with --arch a .safetensors, .pth, .th or .pt file."""
    images: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="IMAGE ...")] = ()
    """Image files, folders (all that is below them), or - for a list on standard input, a path a line."""
    top: int = 3
    """Classes to name for each picture."""
    json: bool = False
    """Print JSON instead of a table."""
    which: Literal["best", "last"] = "best"
    """Which of a run's checkpoints."""
    batch_size: int = 100
    """Pictures a step."""
    arch: str | None = None
    """The network, where the weights are a file; a run knows its own."""
    dataset: Literal["cifar10", "cifar100", "mnist", "digits"] = "cifar10"
    """Whose classes and image size, where the checkpoint does not say."""
    mean: tuple[float, ...] = ()
    """Subtracted from pixels in [0, 1]; as the network was trained, by default."""
    std: tuple[float, ...] = ()
    """Divides them."""


def main(args: Sequence[str] | None = None) -> None:
    """Parses the flags and predicts; exits with 1 where a picture could not be read."""
    from experiments.inference.predict import predict_images
    from experiments.settings.flags import parse_flags

    config = parse_flags(
        PredictConfig,
        "python -m experiments.predict",
        "Classifies pictures of any format and size with a trained network. They are resized and cropped to "
        "what the network takes, and normalized as it was trained.",
        sys.argv[1:] if args is None else args,
        PredictConfig(),
    )
    if unreadable := predict_images(config):
        for path, reason in unreadable.items():
            print(f"error: {path}: {reason}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    start(main)
