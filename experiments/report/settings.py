"""The settings of runs: read from ``config.json``, compared, and written for people."""

import dataclasses
import typing
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from experiments.runs.text import printable
from experiments.settings.config import Config
from experiments.settings.datasets import STREAMED_DATASETS
from experiments.settings.effects import EFFECTS, Settings
from experiments.settings.fields import groups_of, is_of_type, rules_of
from experiments.settings.resume import decides_numbers

__all__ = [
    "FOLDER",
    "MISSING",
    "applicable_settings",
    "compare_settings",
    "compared_settings",
    "format_setting",
    "read_settings",
    "setting_label",
]

FOLDER = "folder"  # the data set of images in folders
MISSING = "—"  # stands for a value that does not exist

# Settings that have no effect under others: each is compared only where its condition holds.
APPLIES: dict[str, Callable[[Settings], bool]] = {
    **{name: effect.applies for name, effect in EFFECTS.items()},
    "archive": lambda s: s.get("dataset") not in STREAMED_DATASETS,
    # A folder may have a validation split of its own, whatever is held out.
    "eval_every": lambda s: s.get("val_size") != 0 or s.get("dataset") == FOLDER,
    "mirror": lambda s: s.get("dataset") not in STREAMED_DATASETS,
    "nesterov": lambda s: s.get("optimizer") in ("sgd", "muon"),
    "steps": lambda s: s.get("steps") is not None,
    "warmup_epochs": lambda s: s.get("warmup_epochs") is not None,
}


class _Leaf(NamedTuple):
    """A setting of ``Config`` or of a dataclass nested in it."""

    default: Any
    hint: Any
    decides_numbers: bool


def read_settings(written: Any) -> tuple[dict[str, Any], list[str]]:
    """The value of every setting by name, from the ``config`` of a ``config.json``.

    Settings that an older version did not have get their defaults; those of other versions that this one
    does not have are left out.

    Returns:
        The settings, empty if ``written`` is no object of them, and notes on values of wrong types.
    """
    if not isinstance(written, dict) or not written:
        return {}, []
    leaves = _leaves()
    found = _flatten(written)
    settings, wrong = {}, []
    for name, leaf in leaves.items():
        value = found.get(name, leaf.default)
        if name in found and not is_of_type(value, leaf.hint, any_text=True):
            wrong.append(name)
            continue
        settings[name] = tuple(value) if isinstance(value, list) else value
    notes = [f"left out of config.json: wrong values of {', '.join(wrong)}"] if wrong else []
    return settings, notes


def applicable_settings(settings: Settings) -> dict[str, Any]:
    """The settings that have an effect: without those of other schedules, optimizers or data sets."""
    return {name: v for name, v in settings.items() if name not in APPLIES or APPLIES[name](settings)}


def compared_settings(settings: Settings) -> dict[str, Any]:
    """The settings that a run's numbers depend on, without the seed."""
    leaves = _leaves()
    kept = {}
    for name, value in applicable_settings(settings).items():
        # Images in a folder are known by it; other data sets are the same wherever they are.
        compared = settings.get("dataset") == FOLDER if name == "data_dir" else leaves[name].decides_numbers
        if compared and name not in ("seed", "seeds"):
            kept[name] = value
    return kept


def compare_settings(runs: Sequence[Settings]) -> tuple[list[str], list[str]]:
    """The names of the compared settings that differ between runs, and of those that are the same in all."""
    compared = [compared_settings(settings) for settings in runs]
    names = list(dict.fromkeys(name for settings in compared for name in settings))
    different = [name for name in names if any(s.get(name) != compared[0].get(name) for s in compared)]
    return different, [name for name in names if name not in different]


def setting_label(name: str) -> str:
    """A setting's name in words: ``learning_rate`` is "learning rate"."""
    return name.replace("_", " ")


def format_setting(value: Any) -> str:
    """A setting's value for people: yes, 0.1, 1,000, or a dash for none."""
    if value is None or value == () or value == []:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return printable(" ".join(map(format_setting, value)))
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else printable(str(value))


@lru_cache(maxsize=1)
def _leaves() -> dict[str, _Leaf]:
    """Every setting by name, from the dataclasses that define them."""
    leaves = {}
    for _, group in groups_of(Config()):
        hints = typing.get_type_hints(type(group))
        for field in dataclasses.fields(group):
            if rules_of(field) is not None:
                value = getattr(group, field.name)
                leaves[field.name] = _Leaf(value, hints[field.name], decides_numbers(field))
    return leaves


def _flatten(written: dict[str, Any], depth: int = 3) -> dict[str, Any]:
    """The values of nested objects by their names alone, as names of settings are unique."""
    flat: dict[str, Any] = {}
    for name, value in written.items():
        if not isinstance(value, dict):
            flat[name] = value
        elif depth:
            flat.update(_flatten(value, depth - 1))
    return flat
