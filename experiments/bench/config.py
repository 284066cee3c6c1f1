"""The flags of the bench."""

import dataclasses
import importlib.util
import typing
from pathlib import Path
from typing import Literal

from experiments.program.errors import ConfigError
from experiments.settings.fields import check_ranges, setting

__all__ = ["MODES", "SWEEPS", "BenchConfig"]

# What is timed for each flag, as (module, function). Without a flag whole training steps are timed.
MODES = {
    "inference": ("inference", "time_inference"),
    "layers": ("layers", "time_layers"),
    "growth": ("growth", "time_growth"),
    "loop": ("overhead", "time_overhead"),
    "epoch": ("end_to_end", "time_epoch"),
    "start": ("first_step", "time_start"),
    "race": ("race", "time_race"),
}
# Modes that run whole programs on this data, beside PyTorch's.
PROGRAMS = ("epoch", "start", "race")
Sweep = Literal["batch", "depth", "width", "cardinality", "groups", "image-size", "processes"]
SWEEPS: tuple[Sweep, ...] = typing.get_args(Sweep)


@dataclasses.dataclass(frozen=True)
class BenchConfig:
    """What to time, beside what, and for how long."""

    arch: tuple[str, ...] = setting(
        ("resnet20", "resnet18", "preact_resnet18", "resnet50", "resnext29_32x4d"),
        "networks, as NAME or NAME@VARIANT; resnext29_* is pytorch_cifar's variant",
        common=True,
        metavar="NAME",
    )
    against: Literal["none", "torch", "flax"] = setting(
        "none", "rival in the same rounds: PyTorch, or the networks on flax's own layers", common=True
    )
    user: bool = setting(
        False, "time a library user's program too, which imports jax first and sets nothing", common=True
    )
    torch_compile: bool = setting(False, "with --against torch: PyTorch by torch.compile too", common=True)
    dtype: tuple[Literal["f32", "bf16"], ...] = setting(
        ("f32", "bf16"), "computation types of the networks", metavar="{f32,bf16}"
    )
    conv: tuple[Literal["auto", "xla", "jax", "onednn"], ...] = setting(
        ("auto",), "implementations of convolution in this library", metavar="{auto,xla,jax,onednn}"
    )
    batch_size: int | None = setting(
        None,
        "images per step (default: 128 for resnet20, 32 for resnet50 and resnext29_32x4d, else 64)",
        at_least=1,
    )
    image_size: int = setting(32, "height and width of the images in pixels", at_least=1)
    rounds: int = setting(7, "number of rounds; each case is timed once per round", at_least=1)
    round_seconds: float = setting(2.0, "seconds for which each case is timed per round", above=0)
    steps_per_wait: int = setting(
        1, "training steps dispatched before the last is waited for: 10 or more on a GPU or TPU", at_least=1
    )
    inference: bool = setting(False, "time evaluation: a batch, and the latency of one image")
    layers: bool = setting(False, "time each distinct layer of the networks by itself")
    growth: bool = setting(False, "vary batch, depth, width, groups, image size and processes, one at a time")
    sweep: tuple[Sweep, ...] = setting(SWEEPS, "what --growth varies", metavar="NAME")
    loop: bool = setting(False, "compare the experiments' loop with its training step alone")
    epoch: bool = setting(False, "run an epoch of the first network beside a plain PyTorch program")
    start: bool = setting(False, "time from the command to the end of the first training step")
    race: bool = setting(False, "train the first network beside a plain PyTorch program to one accuracy")
    recipe: Literal["quick", "fast", "standard"] = setting("quick", "recipe of --race, the same for both")
    accuracy: float = setting(0.85, "validation accuracy that --race is for", above=0, at_most=1)
    dataset: Literal["cifar10", "digits"] = setting("cifar10", "data of --epoch, --start and --race")
    out: str | None = setting(None, "JSON file to write the numbers to", metavar="FILE")
    page: str | None = setting(None, "Markdown file that --growth writes its page to", metavar="FILE")

    @property
    def mode(self) -> str | None:
        """The mode that is asked for; None for whole training steps."""
        return next((mode for mode in MODES if getattr(self, mode)), None)

    def check(self) -> None:
        """Checks the flags.

        Raises:
            ConfigError: A value or combination is invalid; the message names the flag.
        """
        check_ranges(self)
        modes = [f"--{mode}" for mode in MODES if getattr(self, mode)]
        if len(modes) > 1:
            raise ConfigError(f"{' and '.join(modes)} are different benches: choose one")
        if self.user and self.mode not in (None, "inference"):
            raise ConfigError(f"--user goes with whole training steps or --inference, not with --{self.mode}")
        if (self.against == "torch" or self.mode in PROGRAMS) and importlib.util.find_spec("torch") is None:
            flag = f"--{self.mode}" if self.mode in PROGRAMS else "--against torch"
            raise ConfigError(f"{flag} needs PyTorch: pip install -e '.[torch]'")
        if self.torch_compile and (self.against != "torch" or self.mode not in (None, "inference")):
            raise ConfigError("--torch-compile goes with --against torch and whole networks")
        if self.steps_per_wait > 1 and self.mode is not None:
            raise ConfigError(f"--steps-per-wait goes with whole training steps, not with --{self.mode}")
        if self.against != "none" and self.mode not in (None, "inference", "layers"):
            raise ConfigError(f"--{self.mode} has no use for --against: leave it out")
        if self.page is not None and self.mode != "growth":
            raise ConfigError("--page goes with --growth")
        for flag, file in (("--out", self.out), ("--page", self.page)):
            if file is not None and (Path(file).is_dir() or not Path(file).absolute().parent.is_dir()):
                raise ConfigError(f"{flag} {file}: must be a file in a folder that exists")
