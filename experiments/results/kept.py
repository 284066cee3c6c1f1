"""The kept runs, grouped over seeds, with the numbers that tables show."""

import dataclasses
import fnmatch
import functools
import json
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np

from experiments.program.errors import ConfigError
from experiments.report.groups import Group, group_runs
from experiments.report.runs import Run
from experiments.report.settings import compared_settings
from experiments.report.table import Row, Spread, make_row, summarize_values
from experiments.results.keep import read_finished_runs
from experiments.results.search import Trial, read_trials
from experiments.results.training_command import training_command
from experiments.runs.folder import EVALUATION
from experiments.runs.reading import UnreadableError, read_json
from experiments.runs.schema import FRACTION, TEXT, read_checked
from jax_resnet._text import natural
from jax_resnet.data.registry import DATASETS

__all__ = ["Entry", "Kept", "alike", "multiply_adds", "read_kept"]

SEARCH = "search.jsonl"


@dataclasses.dataclass(frozen=True, eq=False)
class Entry:
    """Finished runs that differ only by seed."""

    group: Group

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs, at least one."""
        return self.group.runs

    @functools.cached_property
    def row(self) -> Row:
        """The numbers that reports show."""
        return make_row(self.group)

    @property
    def arch(self) -> str:
        """The network's name."""
        return str(self.runs[0].settings["arch"])

    @property
    def recipe(self) -> str:
        """The recipe's name."""
        return str(self.runs[0].settings["recipe"])

    @property
    def dataset(self) -> str:
        """The data set's name, as ``--dataset`` takes it."""
        return str(self.runs[0].settings["dataset"])

    @property
    def augmented(self) -> bool:
        """Whether images are cropped or mirrored at random."""
        settings = self.runs[0].settings
        return bool(settings["crop_padding"] or settings["flip"])

    @functools.cached_property
    def command(self) -> str:
        """The command that trains all of them."""
        first = self.runs[0]
        seeds = [run.setting("seed") for run in self.runs]
        return training_command(first.settings, seeds, first.environment.flags or ())

    @property
    def steps(self) -> int:
        """Training steps of a run."""
        return max((run.summary.steps or 0 for run in self.runs if run.summary), default=0)

    @property
    def epochs(self) -> float:
        """Passes over the training images."""
        return self.row.epochs.mean if self.row.epochs else 0.0

    @property
    def train_size(self) -> int | None:
        """Images that are trained on: those of the data set that are not held out."""
        if self.dataset not in DATASETS:
            return None
        held_out = max((record["images"] for record in self.runs[0].records_of_kind("val")), default=0)
        return DATASETS[self.dataset].train_size - int(held_out)

    @property
    def test(self) -> Spread | None:
        """Test accuracy of the checkpoint best on validation; of the last where there is no validation."""
        summaries = [run.summary for run in self.runs if run.summary]
        return summarize_values(
            [s.test_accuracy if s.test_accuracy_best is None else s.test_accuracy_best for s in summaries]
        )

    @property
    def test_with_tta(self) -> tuple[Spread, str] | None:
        """Test accuracy with test-time augmentation and its name, where all runs were evaluated with it."""
        evaluations = [_evaluation(run) for run in self.runs]
        accuracies = [evaluation.accuracy for evaluation in evaluations]
        names = {evaluation.tta for evaluation in evaluations}
        spread = summarize_values(accuracies)
        if spread is None or None in accuracies or len(names) > 1 or "none" in names:
            return None
        return spread, names.pop()

    @property
    def final_train(self) -> Spread | None:
        """Accuracy on the training images, as augmented, during the last epoch."""
        return summarize_values([_final_train(run) for run in self.runs])

    @property
    def final_val(self) -> Spread | None:
        """Accuracy of the last checkpoint on the validation set."""
        last = [run.records_of_kind("val")[-1:] for run in self.runs]
        return summarize_values([records[0]["accuracy"] if records else None for records in last])

    @property
    def final_test(self) -> Spread | None:
        """Accuracy of the last checkpoint on the test set."""
        return self.row.test_accuracy_last

    def per_device(self, quantity: str) -> dict[str, float]:
        """The mean of "seconds" or "images_per_second" by the device that computed."""
        values: dict[str, list[float]] = {}
        for run in self.runs:
            if (value := run.reached(quantity)) is not None:
                values.setdefault(run.device or "unknown", []).append(value)
        return {device: float(np.mean(found)) for device, found in values.items()}


@dataclasses.dataclass(frozen=True)
class Kept:
    """What tables are made from.

    Attributes:
        entries: By data set, network and length.
        trials: The log of tried settings.
    """

    entries: list[Entry]
    trials: list[Trial]

    def chosen(self, patterns: Sequence[str]) -> "Kept":
        """The entries by the names of their runs' folders: ``fast-*`` chooses, ``!fast-*`` leaves out."""
        wanted = [pattern for pattern in patterns if not pattern.startswith("!")]
        unwanted = [pattern[1:] for pattern in patterns if pattern.startswith("!")]

        def is_chosen(entry: Entry) -> bool:
            names = [run.folder.name for run in entry.runs]
            return (not wanted or _any_matches(names, wanted)) and not _any_matches(names, unwanted)

        return dataclasses.replace(self, entries=[entry for entry in self.entries if is_chosen(entry)])


def read_kept(results: Path) -> Kept:
    """Reads the kept runs and the log of tried settings.

    Raises:
        ConfigError: There are no kept runs, one is damaged, or two are of the same seed.
    """
    entries = [Entry(group) for group in group_runs(read_finished_runs([results]))]
    for entry in entries:
        _check_seeds(entry)
    entries.sort(key=lambda entry: (entry.dataset, natural(entry.arch), entry.steps, entry.recipe))
    return Kept(entries, read_trials(results / SEARCH))


def _check_seeds(entry: Entry) -> None:
    folders: dict[int | None, Path] = {}
    for run in entry.runs:
        seed = run.setting("seed")
        if (other := folders.setdefault(seed, run.folder)) != run.folder:
            raise ConfigError(
                f"{other} and {run.folder} are the same training with the same seed, {seed}: keep one of them"
            )


def alike(
    entries: Sequence[Entry],
    but_for: Collection[str],
    one: Callable[[Entry], bool],
    other: Callable[[Entry], bool],
) -> list[Entry]:
    """The entries that can be compared: some are ``one`` and some ``other``, with the same settings else.

    Args:
        entries: All.
        but_for: Names of the settings that may differ.
        one: Whether an entry is of the first kind.
        other: Whether it is of the second.
    """
    sets: dict[str, list[Entry]] = {}
    for entry in entries:
        if one(entry) or other(entry):
            settings = compared_settings(entry.runs[0].settings)
            key = json.dumps({name: value for name, value in settings.items() if name not in but_for})
            sets.setdefault(key, []).append(entry)
    return [e for found in sets.values() if any(map(one, found)) and any(map(other, found)) for e in found]


@functools.lru_cache
def multiply_adds(arch: str, dataset: str, shortcut: str = "default", stem: str = "cifar") -> int | None:
    """Multiply-adds per image of a network; None for data sets whose images have no one size."""
    from jax_resnet.models import create_model, summary

    if dataset not in DATASETS:
        return None
    spec = DATASETS[dataset]
    options = {} if shortcut == "default" else {"shortcut": shortcut}
    model = create_model(arch, num_classes=len(spec.class_names), stem=stem, **options)
    return summary(model, spec.image_shape).multiply_adds


def _final_train(run: Run) -> float | None:
    records = run.records_of_kind("train")
    end = max((record["epoch"] for record in records), default=0.0)
    last = [record for record in records if record["epoch"] > end - 1]
    images = sum(record["images"] for record in last)
    return sum(record["accuracy"] * record["images"] for record in last) / images if images else None


@dataclasses.dataclass(frozen=True)
class _Evaluation:
    accuracy: Annotated[float | None, FRACTION] = None
    tta: Annotated[str, TEXT] = "none"


def _evaluation(run: Run) -> _Evaluation:
    try:
        content = read_json(run.folder / EVALUATION)
    except UnreadableError:  # was not evaluated
        return _Evaluation()
    return read_checked(_Evaluation, content, EVALUATION)[0]


def _any_matches(names: Sequence[str], patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for name in names for pattern in patterns)
