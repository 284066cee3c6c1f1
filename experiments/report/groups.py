"""Groups runs that differ only by seed, and names the groups."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from experiments.report.runs import Run
from experiments.report.settings import (
    FOLDER,
    compare_settings,
    compared_settings,
    format_setting,
    setting_label,
)
from experiments.runs.curves import NetworkCurves
from experiments.runs.text import printable
from jax_resnet.data.registry import DATASETS

__all__ = ["Group", "group_by_dataset", "group_runs"]

NAME_LENGTH = 80


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """Runs with the same settings but for the seed.

    Attributes:
        name: The network, with the settings that tell it from the others on its data set.
        runs: At least one.
        dataset: The data set's name for people.
    """

    name: str
    runs: tuple[Run, ...]
    dataset: str

    @property
    def averaged(self) -> list[Run]:
        """The runs that means are over: the finished ones if there are any."""
        return [run for run in self.runs if run.summary] or list(self.runs)

    @property
    def label(self) -> str:
        """The name, with the number of seeds if there are more than one."""
        seeds = len(self.averaged)
        return self.name if seeds == 1 else f"{self.name}, {seeds} seeds"

    @property
    def curves(self) -> NetworkCurves:
        """What a figure of curves shows of the group."""
        return NetworkCurves(self.label, [run.records for run in self.averaged])


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Groups runs that differ only by seed, in the order of the first of each."""
    members: dict[str, list[Run]] = {}
    for run in runs:
        alone = "" if run.settings else str(run.folder)
        members.setdefault(json.dumps([alone, compared_settings(run.settings)]), []).append(run)
    groups = list(members.values())
    firsts = [group[0] for group in groups]
    return [Group(_name(group[0], firsts), tuple(group), _dataset(group[0], firsts)) for group in groups]


def group_by_dataset(groups: Sequence[Group]) -> dict[str, list[Group]]:
    """The groups of each data set, in order of appearance."""
    found: dict[str, list[Group]] = {}
    for group in groups:
        found.setdefault(group.dataset, []).append(group)
    return found


def _dataset(run: Run, others: Sequence[Run]) -> str:
    """The data set's name for people; of a folder of images its own, or the path where others share that."""
    name = run.setting("dataset") or "unknown data"
    if name == FOLDER and (folder := run.setting("data_dir")):
        folders = {other.setting("data_dir") for other in others if other.setting("dataset") == FOLDER}
        shared = sum(Path(other).name == Path(folder).name for other in folders if other) > 1
        shown = folder if shared else Path(folder).name
        return f"the images in {printable(shown[-NAME_LENGTH:], NAME_LENGTH)}"
    return DATASETS[name].title if name in DATASETS else printable(name, NAME_LENGTH)


def _name(run: Run, others: Sequence[Run]) -> str:
    """The network's name, and settings until no other run of the network on the data set matches."""
    alike = [o for o in others if all(o.setting(k) == run.setting(k) for k in ("arch", "dataset"))]
    parts = []
    for setting in compare_settings([other.settings for other in alike])[0]:
        if len(alike) == 1:
            break
        value = _compared(run, setting)
        if len(still := [other for other in alike if _compared(other, setting) == value]) < len(alike):
            parts.append(f"{setting_label(setting)} {format_setting(value)}")
            alike = still
    name = printable(str(run.setting("arch") or run.folder.name), NAME_LENGTH)
    return printable(f"{name} ({', '.join(parts)})", 2 * NAME_LENGTH) if parts else name


def _compared(run: Run, setting: str) -> object:
    return compared_settings(run.settings).get(setting)
