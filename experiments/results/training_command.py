"""The command that trains runs, from their settings: what differs from the recipe, as flags."""

import dataclasses
import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.program.errors import ConfigError
from experiments.report.settings import applicable_settings, compared_settings, read_settings
from experiments.settings.command import flag_words, program_of
from experiments.settings.fields import flag_of
from experiments.settings.recipes import choose

__all__ = ["changed_flags", "training_command"]

Settings = Mapping[str, Any]

SHOWN_APART = frozenset({"arch", "recipe", "dataset", "data_dir"})


def training_command(settings: Settings, seeds: Sequence[int | None] = (), typed: Sequence[str] = ()) -> str:
    """The command that repeats runs with these settings: one network, all seeds.

    It is made from settings, not from the command line that was typed, which tells only whether a value took
    the place of ``auto``: the network of a comparison gets a
    command of its own, and a recipe that changed since shows what it was.

    Args:
        settings: Values by the names of their fields, as ``read_settings`` returns them.
        seeds: The seeds of the runs; where they do not follow each other, the command is for the first.
        typed: The flags of the command line, see ``changed_flags``.
    """
    module, default = program_of(settings["dataset"])
    words = ["python", "-m", module]
    if settings["dataset"] != default:
        words += ["--dataset", settings["dataset"]]
    words += ["--arch", settings["arch"], "--recipe", settings["recipe"]]
    if settings["dataset"] == "folder":
        words += ["--data-dir", settings.get("data_dir") or "FOLDER"]
    words += changed_flags(settings, typed)
    known = sorted(seed for seed in set(seeds) if seed is not None)
    if known and known[0]:
        words += ["--seed", str(known[0])]
    if len(known) > 1 and known == list(range(known[0], known[0] + len(known))):
        words += ["--seeds", str(len(known))]
    return shlex.join(words)


def changed_flags(settings: Settings, typed: Sequence[str] = ()) -> list[str]:
    """The flags that make the settings from those of the recipe, without network, data set and seed.

    Args:
        settings: Values by the names of their fields.
        typed: The flags of the command line. What a run chose itself for a recipe's ``auto`` is left out: its
            machine's choice. What was typed instead of ``auto`` is not.
    """
    flags_typed = {
        word.partition("=")[0]
        for word, following in zip(typed, [*typed, ""][1:], strict=True)
        if "auto" not in (following, word.partition("=")[2])
    }
    recipe = _recipe_settings(settings)
    applicable = applicable_settings(settings)
    words = []
    for name in compared_settings(settings):
        value, default = settings[name], recipe.get(name)
        # The length in epochs counts only without one in steps, which no flag takes back but --epochs.
        replaced = name == "epochs" and recipe.get("steps") is not None
        if name in SHOWN_APART or name not in applicable or (value == default and not replaced):
            continue
        if default == "auto" and flag_of(name) not in flags_typed:
            continue
        if value is not None:  # which no flag can give
            words += flag_words(name, value, _text)
    return words


def _recipe_settings(settings: Settings) -> dict[str, Any]:
    try:
        config = choose(settings["dataset"], settings["recipe"], settings["arch"])
    except ConfigError:  # a recipe of another version
        config = choose(settings["dataset"], None, settings["arch"])
    return read_settings(json.loads(json.dumps(dataclasses.asdict(config))))[0]


def _text(value: Any) -> str:
    """A value as a flag takes it, a float with all its digits: 0.1, 2, 0.3333333333333333."""
    if isinstance(value, float) and float(f"{value:g}") == value:
        return f"{value:g}"
    return str(value)
