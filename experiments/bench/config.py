"""The flags of the bench."""

import dataclasses
import importlib.util
import typing
from pathlib import Path
from typing import Literal

from experiments.program.errors import ConfigError
from experiments.settings.fields import check_ranges, flag_of, setting

__all__ = ["MODES", "PROGRAMS", "STEPS", "SWEEPS", "BenchConfig"]

_TIMING = ("rounds", "round_seconds")
_NETWORKS = ("arch", "batch_size", "image_size", "dtype", *_TIMING)
_RIVALS = ("against", "user", "torch_compile", "conv")
_PROGRAMS = ("arch", "dataset", "rounds")


STEPS = "networks"
# What can be timed, and the settings that it follows; any other is refused rather than ignored. For each
# there is a module of its name here, with a function ``time_NAME``, and a flag; STEPS is timed without one.
MODES = {
    STEPS: (*_NETWORKS, *_RIVALS, "steps_per_wait"),
    "inference": (*_NETWORKS, *_RIVALS),
    "layers": (*_NETWORKS, "against", "conv"),
    "growth": ("dtype", "conv", *_TIMING, "sweep", "page"),
    "loop": _NETWORKS,
    "epoch": (*_PROGRAMS, "batch_size"),
    "start": (*_PROGRAMS, "batch_size"),
    "race": (*_PROGRAMS, "recipe", "epochs", "accuracy"),
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
        "networks, as NAME or NAME@VARIANT; resnext29_* is pytorch_cifar's variant, with --loop, --epoch, "
        "--start and --race the paper's",
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
    epochs: int | None = setting(
        None, "epochs of --race, to which its schedule is fitted (default: the recipe's)", at_least=1
    )
    accuracy: float = setting(0.85, "validation accuracy that --race is for", above=0, at_most=1)
    dataset: Literal["cifar10", "digits"] = setting("cifar10", "data of --epoch, --start and --race")
    out: str | None = setting(None, "JSON file to write the numbers to", metavar="FILE")
    page: str | None = setting(None, "Markdown file that --growth writes its page to", metavar="FILE")

    @property
    def mode(self) -> str:
        """What is timed."""
        return next(iter(self._asked), STEPS)

    @property
    def _asked(self) -> list[str]:
        return [mode for mode in MODES if mode != STEPS and getattr(self, mode)]

    def check(self) -> None:
        """Checks the flags.

        Raises:
            ConfigError: A value or combination is invalid; the message names the flag.
        """
        check_ranges(self)
        if len(self._asked) > 1:
            raise ConfigError(f"{' and '.join(map(_title, self._asked))} are different benches: choose one")
        self._check_use()
        varied = [arch for arch in self.arch if "@" in arch]
        if varied and self.mode in ("loop", *PROGRAMS):
            raise ConfigError(
                f"--{self.mode} trains networks as experiments.cifar10 does, which has no {varied[0]}"
            )
        if (self.against == "torch" or self.mode in PROGRAMS) and importlib.util.find_spec("torch") is None:
            flag = f"--{self.mode}" if self.mode in PROGRAMS else "--against torch"
            raise ConfigError(f"{flag} needs PyTorch: pip install -e '.[torch]'")
        if self.torch_compile and self.against != "torch":
            raise ConfigError("--torch-compile goes with --against torch")
        if self.mode == "growth" and len(self.conv) > 1:
            raise ConfigError(f"--growth takes one --conv, not {len(self.conv)}")
        for flag, file in (("--out", self.out), ("--page", self.page)):
            if file is not None and (Path(file).is_dir() or not Path(file).absolute().parent.is_dir()):
                raise ConfigError(f"{flag} {file}: must be a file in a folder that exists")

    def _check_use(self) -> None:
        """Refuses settings that what is timed would ignore."""
        for field in dataclasses.fields(self):
            users = [mode for mode, takes in MODES.items() if field.name in takes]
            if users and self.mode not in users and getattr(self, field.name) != field.default:
                *most, last = map(_title, users)
                any_user = " or ".join(filter(None, (", ".join(most), last)))
                raise ConfigError(f"{flag_of(field.name)} goes with {any_user}, not with {_title(self.mode)}")


def _title(mode: str) -> str:
    return "whole training steps" if mode == STEPS else f"--{mode}"
