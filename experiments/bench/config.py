"""The flags of the bench."""

import dataclasses
import importlib.util
import typing
from pathlib import Path
from typing import Literal, NamedTuple

from experiments.program.errors import ConfigError
from experiments.settings.fields import check_ranges, flag_of, setting

__all__ = ["MODES", "PROGRAMS", "STEPS", "SWEEPS", "BenchConfig"]

_TIMING = ("rounds", "round_seconds")
_NETWORKS = ("arch", "batch_size", "image_size", "dtype", *_TIMING)
_RIVALS = ("against", "user", "torch_compile", "conv")
_PROGRAMS = ("arch", "dataset", "rounds")


class Mode(NamedTuple):
    """One thing to time.

    Attributes:
        module: Name of the module here that times it.
        function: Name of the function in it.
        takes: The settings that it follows; any other is refused rather than ignored.
    """

    module: str
    function: str
    takes: tuple[str, ...]


STEPS_TITLE = "whole training steps"
STEPS = Mode("networks", "time_networks", (*_NETWORKS, *_RIVALS, "steps_per_wait"))
# What is timed for each flag; without any, whole training steps are.
MODES = {
    "inference": Mode("inference", "time_inference", (*_NETWORKS, *_RIVALS)),
    "layers": Mode("layers", "time_layers", (*_NETWORKS, "against", "conv")),
    "growth": Mode("growth", "time_growth", ("dtype", "conv", *_TIMING, "sweep", "page")),
    "loop": Mode("overhead", "time_overhead", _NETWORKS),
    "epoch": Mode("end_to_end", "time_epoch", (*_PROGRAMS, "batch_size")),
    "start": Mode("first_step", "time_start", (*_PROGRAMS, "batch_size")),
    "race": Mode("race", "time_race", (*_PROGRAMS, "recipe", "accuracy")),
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
        self._check_use()
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
        modes: dict[str, Mode] = {STEPS_TITLE: STEPS} | {f"--{name}": mode for name, mode in MODES.items()}
        asked = f"--{self.mode}" if self.mode else STEPS_TITLE
        for field in dataclasses.fields(self):
            users = [title for title, mode in modes.items() if field.name in mode.takes]
            if users and asked not in users and getattr(self, field.name) != field.default:
                any_user = " or ".join(filter(None, (", ".join(users[:-1]), users[-1])))
                raise ConfigError(f"{flag_of(field.name)} goes with {any_user}, not with {asked}")
