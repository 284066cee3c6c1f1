"""The command line that gives some settings, for records that must not name this machine's folders."""

import dataclasses
import shlex
from collections.abc import Callable, Iterator
from typing import Any

from experiments.program.errors import ConfigError
from experiments.settings.config import Config
from experiments.settings.effects import without_effect
from experiments.settings.fields import NONE, flag_of, groups_of
from experiments.settings.flags import parse
from experiments.settings.recipes import choose
from experiments.settings.resume import decides_numbers

__all__ = ["command_of", "flag_words", "program_of"]

# The training programs and the data set that each takes unless --dataset names another.
PROGRAMS = {"cifar10": "cifar10", "cifar100": "cifar100", "mnist": "mnist", "folder": "imagenet"}
IMAGENET = "imagenet2012"


def program_of(dataset: str) -> tuple[str, str]:
    """The training program of a data set, and the data set that it takes without ``--dataset``."""
    default = "folder" if dataset == IMAGENET else dataset if dataset in PROGRAMS else "cifar10"
    return f"experiments.{PROGRAMS[default]}", default


def flag_words(name: str, value: Any, text: Callable[[Any], str] = str) -> list[str]:
    """The flag of a field, and its value as ``text`` writes it; no values are ``none``."""
    if isinstance(value, bool):
        return [flag_of(name) if value else flag_of(name).replace("--", "--no-", 1)]
    if value == ():
        return [flag_of(name), NONE]
    return [flag_of(name), *map(text, value if isinstance(value, tuple) else (value,))]


def command_of(config: Config) -> str | None:
    """The shortest command that trains with these settings: the recipe and what differs from it.

    What numbers do not depend on is left out, the folders of data and run among it. None where there is no
    such command, as for a recipe that no longer exists.
    """
    dataset = config.data.dataset
    module, default = program_of(dataset)
    args = ["--arch", config.model.arch, "--recipe", config.recipe]
    if dataset != default:
        args += ["--dataset", dataset]
    try:
        recipe = choose(dataset, config.recipe, config.model.arch)
        args += _differences(recipe, config)
        again = parse(module, "", args, default)
    except ConfigError:
        return None
    return f"python -m {module} {shlex.join(args)}" if _numbers_of(again) == _numbers_of(config) else None


def _differences(recipe: Config, config: Config) -> Iterator[str]:
    given = {"arch", "recipe", "dataset", *without_effect(config)}
    # A recipe's length in steps gives way to --epochs; see settings.flags.recipe_defaults.
    epochs_instead = config.optim.steps is None and recipe.optim.steps is not None
    for name, group in groups_of(config):
        base = recipe if name is None else getattr(recipe, name)
        for field in _numeric_fields(group):
            value = getattr(group, field.name)
            changed = value != getattr(base, field.name) or (field.name == "epochs" and epochs_instead)
            if changed and field.name not in given and value is not None:
                yield from flag_words(field.name, value)


def _numeric_fields(group: Any) -> list[dataclasses.Field[Any]]:
    """The settings that the reported numbers depend on."""
    return [
        field
        for field in dataclasses.fields(group)
        if not dataclasses.is_dataclass(getattr(group, field.name)) and decides_numbers(field)
    ]


def _numbers_of(config: Config) -> dict[str, Any]:
    idle = without_effect(config)
    return {
        field.name: getattr(group, field.name)
        for _, group in groups_of(config)
        for field in _numeric_fields(group)
        if field.name not in idle
    }
