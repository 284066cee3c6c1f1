"""Runs that differ only by seed belong together."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.report.runs import Run
from experiments.settings.config import Config
from experiments.settings.fields import groups_of
from experiments.settings.resume import may_change
from jax_resnet.data.registry import DATASETS

# What two runs may differ in and still be two seeds of the same. How far one went is no such thing.
SAME = {
    field.name for _, group in groups_of(Config()) for field in dataclasses.fields(group) if may_change(field)
} - {"max_steps", "eval_every"} | {"seed"}

FOLDER = "folder"  # the name of a data set of pictures in folders
MISSING = "—"  # what is printed for a number that there is not


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """Runs with the same settings but for the seed.

    Attributes:
        name: The network, with as many settings as it takes to tell it from the others of its data set.
        runs: At least one.
    """

    name: str
    runs: tuple[Run, ...]

    @property
    def dataset(self) -> str:
        """The data set's name, in prose."""
        name = self.runs[0].setting("dataset") or "unknown data"
        if name == FOLDER and (folder := self.runs[0].setting("data_dir")):
            return f"the pictures in {Path(folder).name}"
        return DATASETS[name].title if name in DATASETS else name

    @property
    def counted(self) -> list[Run]:
        """The runs that means are of: the finished ones, if there are any; others would pull aside."""
        return [run for run in self.runs if run.summary] or list(self.runs)

    @property
    def label(self) -> str:
        """The name, with the number of seeds if there are more than one."""
        seeds = len(self.counted)
        return self.name if seeds == 1 else f"{self.name}, {seeds} seeds"


def group(runs: Sequence[Run]) -> list[Group]:
    """Puts runs together that differ only by seed, in the order of their first, and names them."""
    members: dict[str, list[Run]] = {}
    for run in runs:
        alone = "" if run.settings else str(run.folder)
        members.setdefault(json.dumps([alone, identity(run)]), []).append(run)
    parts = list(members.values())
    return [Group(_name(part[0], [p[0] for p in parts]), tuple(part)) for part in parts]


def identity(run: Run) -> dict[str, Any]:
    """The settings that the run's numbers depend on, the seed aside."""
    # Of pictures in a folder the folder is what they are, else only where they are kept.
    same = SAME - {"data_dir"} if run.setting("dataset") == FOLDER else SAME
    return {name: value for name, value in run.settings.items() if name not in same}


def differences(runs: Sequence[Run]) -> tuple[list[str], list[str]]:
    """The names of the settings that differ between runs, and of those that are the same in all."""
    names = list(dict.fromkeys(name for run in runs for name in identity(run)))
    apart = [
        name for name in names if any(run.settings.get(name) != runs[0].settings.get(name) for run in runs)
    ]
    return apart, [name for name in names if name not in apart]


def spell(name: str) -> str:
    """A setting as people read it: learning rate."""
    return name.replace("_", " ")


def _name(run: Run, others: Sequence[Run]) -> str:
    """The network's name, and settings one after another until no other run on the data answers to them."""
    told = []
    alike = [o for o in others if all(o.setting(k) == run.setting(k) for k in ("arch", "dataset"))]
    for setting in differences(alike)[0]:
        if len(alike) == 1:
            break
        if len(still := [o for o in alike if o.setting(setting) == run.setting(setting)]) < len(alike):
            told.append(f"{spell(setting)} {show(run.setting(setting))}")
            alike = still
    name = str(run.setting("arch") or run.folder.name)
    return f"{name} ({', '.join(told)})" if told else name


def show(value: Any) -> str:
    """A setting's value as people read it."""
    if value is None or value == () or value == []:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return " ".join(map(show, value))
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else str(value)
