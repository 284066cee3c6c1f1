"""From the command line to a Config."""

import contextlib
import dataclasses
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import tyro

from experiments.program.errors import ConfigError
from experiments.settings.config import Config, DataConfig, from_dict
from experiments.settings.recipes import choose

T = TypeVar("T")


def parse(prog: str, about: str, args: Sequence[str], dataset: str = "cifar10") -> Config:
    """Reads flags over the defaults of ``--recipe``, with ``--resume`` over what the run was told.

    Args:
        prog: How the program is called.
        about: What it does, in a sentence.
        args: The flags.
        dataset: What ``--dataset`` is by default; it decides which recipes there are.

    Raises:
        ConfigError: A flag or value that cannot be.
    """
    recipes, default = defaults(args, dataset)
    about = f"{about}\n\n{recipes}"
    config = parse_flags(Config, prog, about, args, default)
    if config.run.resume and (written := saved_config(config.workdir)):
        # The run goes on as it was told to: only what is said now can differ.
        before = dataclasses.replace(
            written,
            run=dataclasses.replace(written.run, max_steps=None, resume=False, overwrite=False),
            parallel=dataclasses.replace(
                written.parallel, coordinator=None, num_processes=None, process_id=None
            ),
        )
        config = parse_flags(Config, prog, about, args, before)
    return config


def defaults(
    args: Sequence[str], dataset: str, recipe: str | None = None, arch: str | None = None
) -> tuple[str, Config]:
    """What flags are read over: the settings of the recipe they name, beside the recipes there are.

    Args:
        args: The flags.
        dataset: What ``--dataset`` is by default.
        recipe: What ``--recipe`` is by default; None for the data set's own.
        arch: Whose settings, where it is not ``--arch`` that says so.

    Raises:
        ConfigError: There is no such recipe, or it was made for other data.
    """
    recipes, config = choose(
        value_of("--dataset", args) or dataset,
        value_of("--recipe", args) or recipe,
        arch or value_of("--arch", args),
    )
    data = from_dict(DataConfig, {**dataclasses.asdict(config.data), "dataset": dataset})
    if value_of("--epochs", args) and config.optim.steps:  # who says epochs does not mean the recipe's steps
        config = dataclasses.replace(config, optim=dataclasses.replace(config.optim, steps=None))
    about = "\n\n".join(f"--recipe {name}: {recipe.about}" for name, recipe in recipes.items())
    return about, dataclasses.replace(config, data=data)


def parse_flags(kind: type[T], prog: str, about: str, args: Sequence[str], default: T) -> T:
    """Reads the flags of any dataclass.

    Raises:
        ConfigError: A flag or value that cannot be, in one line.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(
                kind,
                prog=prog,
                description=about,
                args=list(args),
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.HelptextFromCommentsOff),
                default=default,
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise ConfigError(_one_line(said.getvalue())) from None


def saved_config(workdir: Path) -> Config | None:
    """The settings of the run in a folder; None where there is none."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return from_dict(Config, json.loads((workdir / "config.json").read_text())["config"])
    return None


def value_of(flag: str, args: Sequence[str]) -> str | None:
    """What a flag is given, before the flags are read; None where it is not there."""
    for i, arg in enumerate(args):
        if arg == flag and i + 1 < len(args):
            return args[i + 1]
        if arg.startswith(f"{flag}="):
            return arg.split("=", 1)[1]
    return None


def _one_line(boxed: str) -> str:
    """The message of tyro's error, without box, title and help."""
    rows = [line.strip("│ ").strip() for line in boxed.splitlines() if not line.startswith(("╭", "╰"))]
    parts: list[list[str]] = [[]]
    for row in rows:
        if set(row) <= {"─"}:
            parts.append([])
        else:
            parts[-1].append(row)
    message = " ".join(parts[0])
    if len(parts) > 1 and parts[1] and parts[1][0].startswith("Perhaps you meant"):
        message += f"; did you mean {parts[1][1].split()[0]}?"
    return f"{message} (--help lists the flags)"
