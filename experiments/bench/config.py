"""What the bench can be told."""

import dataclasses
from typing import Literal

from experiments.program.errors import ConfigError

# Without any, whole training steps are timed.
MODES = ("layers", "scaling", "depth", "loop", "epoch")


@dataclasses.dataclass(frozen=True)
class BenchConfig:
    """What to time, against what."""

    arch: tuple[str, ...] = ("resnet20", "resnet18", "preact_resnet18", "resnet50", "resnext29_32x4d")
    """Networks; NAME@VARIANT for another's form of one. resnext29_* is pytorch_cifar's by default."""
    against: Literal["none", "torch", "flax"] = "none"
    """What to time beside: PyTorch in its layouts, or this library's networks on flax's own layers."""
    dtype: tuple[Literal["f32", "bf16"], ...] = ("f32", "bf16")
    """In which the networks compute."""
    conv: tuple[Literal["auto", "xla", "jax", "onednn"], ...] = ("auto",)
    """Which of this library's convolutions."""
    batch_size: int | None = None
    """Images a step; by default 128 for resnet20, 32 for resnet50 and resnext29, 64 else."""
    image_size: int = 32
    """Height and width of the images."""
    rounds: int = 7
    """How often each has its turn."""
    turn_seconds: float = 2.0
    """How long a turn is."""
    layers: bool = False
    """Time the kinds of layers of the networks, one by one."""
    scaling: bool = False
    """Vary batch, depth, cardinality and the number of processes."""
    depth: bool = False
    """Compile networks of growing depth, rolled into a loop and unrolled."""
    loop: bool = False
    """Compare the experiments' loop with its bare step."""
    epoch: bool = False
    """Race a whole epoch of the first network on CIFAR-10 against a plain PyTorch program, minutes a turn."""
    out: str | None = None
    """A JSON file for the numbers."""

    def check(self) -> None:
        """Finds what cannot be.

        Raises:
            ConfigError: Naming the flag.
        """
        asked = [f"--{mode}" for mode in MODES if getattr(self, mode)]
        if len(asked) > 1:
            raise ConfigError(f"{' and '.join(asked)} are different benches: choose one")
        numbers = {
            "--rounds": self.rounds,
            "--turn-seconds": self.turn_seconds,
            "--batch-size": 1 if self.batch_size is None else self.batch_size,
            "--image-size": self.image_size,
        }
        for flag, number in numbers.items():
            if not number > 0:
                raise ConfigError(f"{flag} must be more than 0, not {number}")
