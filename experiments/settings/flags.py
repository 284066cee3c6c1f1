"""From the command line of an experiment to its Config."""

import argparse
import dataclasses
import shutil
from collections.abc import Sequence
from typing import NamedTuple

from experiments.settings.config import Config
from experiments.settings.fields import from_dict
from experiments.settings.parser import About, parse_flags
from experiments.settings.recipes import choose, descriptions, example_recipe, summaries
from experiments.settings.resume import resumed_defaults, saved_config

__all__ = ["Peeked", "about", "parse", "parse_flags", "peek", "recipe_defaults"]


class Peeked(NamedTuple):
    """The flags that decide what the others' defaults are; None where one is not given."""

    dataset: str | None
    recipe: str | None
    arch: str | None
    stem: str | None
    epochs: str | None


def peek(args: Sequence[str]) -> Peeked:
    """Reads those flags alone, before the others can be read; of a flag given twice, the last."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name in Peeked._fields:
        parser.add_argument(f"--{name}")
    try:
        found, _ = parser.parse_known_args(list(args))
    except argparse.ArgumentError:  # a flag without its value: reading all flags names it
        return Peeked(*[None] * len(Peeked._fields))
    return Peeked(**vars(found))


def parse(module: str, summary: str, args: Sequence[str], dataset: str = "cifar10") -> Config:
    """Reads flags over the defaults of ``--recipe``, with ``--resume`` over the settings of the run.

    Args:
        module: The program, as ``python -m`` takes it.
        summary: What it does, in a sentence.
        args: The flags.
        dataset: Default of ``--dataset``; it decides which recipes there are.

    Raises:
        ConfigError: An unknown flag, recipe or value.
        SystemExit: ``--help`` or ``--recipe list`` was asked for and printed.
    """
    default = recipe_defaults(args, dataset)
    text = about(module, summary, peek(args).dataset or dataset)
    config = parse_flags(Config, f"python -m {module}", text, args, default)
    folder = config.workdir
    if config.run.seeds > 1 and config.run.workdir:
        folder /= f"seed{config.run.seed}"  # as training.sweep names it
    if config.run.resume and (saved := saved_config(folder)):
        default = resumed_defaults(saved, config.workdir if config.run.seeds == 1 else None)
        config = parse_flags(Config, f"python -m {module}", text, args, default)
    return config


def recipe_defaults(
    args: Sequence[str], dataset: str, recipe: str | None = None, arch: str | None = None
) -> Config:
    """The settings that flags are read over: those of the recipe that the flags name.

    Args:
        args: The flags.
        dataset: Default of ``--dataset``.
        recipe: Default of ``--recipe``; None for the data set's own.
        arch: The network whose settings are wanted, where ``--arch`` does not say so.

    Raises:
        ConfigError: There is no such recipe, or it is for other data sets.
        SystemExit: ``--recipe list`` was asked for and printed.
    """
    given = peek(args)
    if given.recipe == "list":
        print(descriptions(given.dataset or dataset, min(100, shutil.get_terminal_size().columns)))
        raise SystemExit(0)
    config = choose(given.dataset or dataset, given.recipe or recipe, arch or given.arch)
    data = from_dict(type(config.data), {**dataclasses.asdict(config.data), "dataset": dataset})
    if given.epochs and config.optim.steps:  # --epochs replaces a recipe's length in steps
        config = dataclasses.replace(config, optim=dataclasses.replace(config.optim, steps=None))
    return dataclasses.replace(config, data=data)


def about(module: str, summary: str, dataset: str) -> About:
    """The text of ``--help`` beside the flags."""
    program = f"python -m {module}"
    data = " --data-dir FOLDER" if dataset == "folder" else ""
    return About(
        summary,
        examples=(
            f"{program} --recipe {example_recipe(dataset)}{data}",
            f"{program} --arch resnet18 --epochs 30{data} --workdir runs/mine",
            f"{program} --resume --workdir runs/mine",
        ),
        notes=f"recipes (--recipe list describes each in full):\n{summaries(dataset)}",
    )
