"""Settings that have an effect only under certain others."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from experiments.program.errors import ConfigError
from experiments.settings.datasets import STREAMED_DATASETS
from experiments.settings.fields import flag_of, settings_of

__all__ = ["EFFECTS", "Effect", "Settings", "check_effects", "without_effect"]

Settings = Mapping[str, Any]


class Effect(NamedTuple):
    """When a setting has an effect.

    Attributes:
        applies: Whether it has one under settings, by name.
        without: What is missing where it has none.
    """

    applies: Callable[[Settings], bool]
    without: str


_STREAMED = "without images that are streamed (--dataset folder or imagenet2012)"
_IN_MEMORY = "on streamed images, which have random crops of their own"

EFFECTS: dict[str, Effect] = {
    "beta2": Effect(lambda s: s.get("optimizer") in ("adam", "adamw"), "without --optimizer adam or adamw"),
    "crop_padding": Effect(lambda s: s.get("dataset") not in STREAMED_DATASETS, _IN_MEMORY),
    "decay_all": Effect(lambda s: bool(s.get("weight_decay")), "with --weight-decay 0"),
    "epochs": Effect(lambda s: s.get("steps") is None, "beside --steps"),
    "factor": Effect(lambda s: s.get("schedule") == "step", "without --schedule step"),
    "image_size": Effect(lambda s: s.get("dataset") in STREAMED_DATASETS, _STREAMED),
    "milestones": Effect(lambda s: s.get("schedule") == "step", "without --schedule step"),
    "padding": Effect(lambda s: s.get("dataset") not in STREAMED_DATASETS, _IN_MEMORY),
    "peak_at": Effect(lambda s: s.get("schedule") == "one-cycle", "without --schedule one-cycle"),
    "randaugment_magnitude": Effect(lambda s: bool(s.get("randaugment")), "without --randaugment"),
    "skip_unreadable": Effect(lambda s: s.get("dataset") in STREAMED_DATASETS, _STREAMED),
    "small_part": Effect(lambda s: bool(s.get("small_size")), "without --small-size"),
    "warmup": Effect(lambda s: s.get("warmup_epochs") is None, "beside --warmup-epochs"),
    "workers": Effect(lambda s: s.get("dataset") in STREAMED_DATASETS, _STREAMED),
}


def without_effect(config: Any) -> frozenset[str]:
    """The names of settings that do nothing beside the others."""
    settings = settings_of(config)
    return frozenset(name for name, effect in EFFECTS.items() if not effect.applies(settings))


def check_effects(config: Any, args: Sequence[str]) -> None:
    """Refuses flags that were typed and do nothing: somebody expects something of them.

    Raises:
        ConfigError: Naming the flag, and what gives it an effect.
    """
    flags = [arg.partition("=")[0] for arg in args if arg.startswith("--")]
    typed = {flag.replace("--no-", "--", 1): flag for flag in flags}
    for name in sorted(without_effect(config)):
        if flag_of(name) in typed:
            raise ConfigError(f"{typed[flag_of(name)]} has no effect {EFFECTS[name].without}: leave it out")
