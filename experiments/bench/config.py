"""The flags of the bench."""

import dataclasses
import importlib.util
import math
from pathlib import Path
from typing import Literal

from experiments.program.errors import ConfigError

__all__ = ["MODES", "BenchConfig"]

# What is timed for each flag, as (module, function). Without a flag whole training steps are timed.
MODES = {
    "inference": ("inference", "time_inference"),
    "layers": ("layers", "time_layers"),
    "scaling": ("growth", "time_growth"),
    "depth": ("growth", "time_depth"),
    "loop": ("overhead", "time_overhead"),
    "epoch": ("end_to_end", "time_epoch"),
    "start": ("first_step", "time_start"),
}
# Modes that run whole programs on this data, beside PyTorch's.
PROGRAMS = ("epoch", "start")


@dataclasses.dataclass(frozen=True)
class BenchConfig:
    """What to time, beside what, and for how long."""

    arch: tuple[str, ...] = ("resnet20", "resnet18", "preact_resnet18", "resnet50", "resnext29_32x4d")
    """Networks, as NAME or NAME@VARIANT; resnext29_* is pytorch_cifar's variant by default."""
    against: Literal["none", "torch", "flax"] = "none"
    """Rival in the same rounds: PyTorch in its layouts, or this library's networks on flax's own layers."""
    dtype: tuple[Literal["f32", "bf16"], ...] = ("f32", "bf16")
    """Computation types of the networks."""
    conv: tuple[Literal["auto", "xla", "jax", "onednn"], ...] = ("auto",)
    """Implementations of convolution in this library."""
    batch_size: int | None = None
    """Images per step; default: 128 for resnet20, 32 for resnet50 and resnext29_32x4d, else 64."""
    image_size: int = 32
    """Height and width of the images in pixels."""
    rounds: int = 7
    """Number of rounds; each case is timed once per round."""
    round_seconds: float = 2.0
    """Seconds for which each case is timed per round."""
    user: bool = False
    """Time a library user's program too: jax is imported first, and neither malloc nor a variable is set."""
    inference: bool = False
    """Time evaluation: images per second of a batch, and the latency of one image."""
    layers: bool = False
    """Time each distinct layer of the networks by itself."""
    scaling: bool = False
    """Vary the batch, depth, cardinality and number of processes."""
    depth: bool = False
    """Compile networks of growing depth, with their blocks written out and in loops."""
    loop: bool = False
    """Compare the experiments' loop with its training step alone."""
    epoch: bool = False
    """Run an epoch with the first network beside a plain PyTorch program: minutes per round."""
    start: bool = False
    """Time from the command to the end of the first training step, beside a plain PyTorch program."""
    dataset: Literal["cifar10", "digits"] = "cifar10"
    """Data of --epoch and --start."""
    out: str | None = None
    """JSON file to write the numbers to."""

    @property
    def mode(self) -> str | None:
        """The mode that is asked for; None for whole training steps."""
        return next((mode for mode in MODES if getattr(self, mode)), None)

    def check(self) -> None:
        """Checks the flags.

        Raises:
            ConfigError: A value or combination is invalid; the message names the flag.
        """
        modes = [f"--{mode}" for mode in MODES if getattr(self, mode)]
        if len(modes) > 1:
            raise ConfigError(f"{' and '.join(modes)} are different benches: choose one")
        if self.user and self.mode not in (None, "inference"):
            raise ConfigError(f"--user goes with whole training steps or --inference, not with --{self.mode}")
        if (self.against == "torch" or self.mode in PROGRAMS) and importlib.util.find_spec("torch") is None:
            flag = f"--{self.mode}" if self.mode in PROGRAMS else "--against torch"
            raise ConfigError(f"{flag} needs PyTorch: pip install -e '.[torch]'")
        if self.against != "none" and self.mode not in (None, "inference", "layers"):
            raise ConfigError(f"--{self.mode} has no use for --against: leave it out")
        for flag, values in {"--arch": self.arch, "--dtype": self.dtype, "--conv": self.conv}.items():
            if not values:
                raise ConfigError(f"{flag} needs at least one value")
        numbers = {
            "--rounds": self.rounds,
            "--round-seconds": self.round_seconds,
            "--batch-size": 1 if self.batch_size is None else self.batch_size,
            "--image-size": self.image_size,
        }
        for flag, number in numbers.items():
            if not (number > 0 and math.isfinite(number)):
                raise ConfigError(f"{flag} must be more than 0, not {number}")
        if self.out is not None and (
            Path(self.out).is_dir() or not Path(self.out).absolute().parent.is_dir()
        ):
            raise ConfigError(f"--out {self.out}: must be a file in a folder that exists")
