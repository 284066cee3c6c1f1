"""What a finished run says about itself, for the card of its weights."""

import contextlib
import dataclasses
import functools
import operator
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from experiments.program.errors import ExperimentError
from experiments.runs.reading import UnreadableError, read_json
from experiments.runs.records import WATCHED, read_records
from experiments.settings.command import command_of
from experiments.settings.config import Config
from experiments.settings.resume import saved_config

__all__ = ["FinishedRun", "protocol_of", "read_finished"]


class FinishedRun(NamedTuple):
    """A run that went to its end.

    Attributes:
        settings: Its settings.
        config: The content of ``config.json``.
        summary: The content of ``summary.json``.
        which: The checkpoint that it reports: the best on validation, or the last.
        step: The step of that checkpoint.
        test_accuracy: What it reports of that checkpoint.
        val_images: Number of images held out, 0 for none.
        watched: Whether the test set was evaluated during training too.
    """

    settings: Config
    config: dict[str, Any]
    summary: dict[str, Any]
    which: Literal["best", "last"]
    step: int
    test_accuracy: float
    val_images: int
    watched: bool

    @property
    def command(self) -> str | None:
        """The command that trains it; None where its settings are not those of one in this version."""
        known = dataclasses.asdict(self.settings)
        groups = {name: group for name, group in self.config["config"].items() if isinstance(group, dict)}
        if any(set(group) - set(known.get(name, {})) for name, group in groups.items()):
            return None  # it was trained by another version, with settings that this one lacks
        return command_of(self.settings)


def read_finished(folder: Path) -> FinishedRun:
    """Reads the records of a run.

    Raises:
        ExperimentError: They cannot be read, or the run is not finished.
    """
    config, summary = _read(folder, "config.json"), _read(folder, "summary.json")
    settings = saved_config(folder)
    if settings is None:
        raise ExperimentError(f"{folder / 'config.json'} does not hold the settings of a run")
    steps, total = summary["steps"], summary["total_steps"]
    if steps != total:
        raise ExperimentError(
            f"{folder} is not finished: it stopped at step {steps:,} of {total:,}; --resume continues it"
        )
    best_step, best_accuracy = summary["best_step"], summary["test_accuracy_best"]
    validated = best_step is not None and best_accuracy is not None
    records = read_records(folder / "metrics.jsonl")
    held_out = [record["images"] for record in records if record["kind"] == "val"]
    if validated and not held_out:
        raise ExperimentError(f"{folder / 'metrics.jsonl'} lacks the validations that chose the checkpoint")
    return FinishedRun(
        settings=settings,
        config=config,
        summary=summary,
        which="best" if validated else "last",
        step=best_step if validated else steps,
        test_accuracy=best_accuracy if validated else summary["test_accuracy"],
        val_images=held_out[-1] if held_out else 0,
        watched=any(record.get("which") == WATCHED for record in records),
    )


# What a card needs of each file, with the type; "data/mean" is in the object "data".
NEEDED: Mapping[str, Mapping[str, Any]] = {
    "config.json": {
        "config": dict, "versions": dict, "model/name": str, "data/name": str, "data/mean": list,
        "data/std": list, "data/class_names": list, "data/image_shape": list,
    },
    "summary.json": {
        "steps": int, "total_steps": int, "epochs": int | float, "seconds": int | float, "seed": int,
        "parameters": int, "device": str, "test_accuracy": int | float, "val_accuracy": int | float | None,
        "best_step": int | None, "test_accuracy_best": int | float | None,
    },
}  # fmt: skip


def _read(folder: Path, name: str) -> dict[str, Any]:
    try:
        content = read_json(folder / name)
    except UnreadableError as error:
        finished = ": a run has one when it is finished" if name == "summary.json" else ""
        raise ExperimentError(f"{folder / name}: {error}{finished}") from None
    for key, kind in NEEDED[name].items():
        value: Any = ...
        with contextlib.suppress(KeyError, TypeError):
            value = functools.reduce(operator.getitem, key.split("/"), content)
        if not isinstance(value, kind):
            raise ExperimentError(f"{folder / name} has no valid {key}: it is not that of a finished run")
    return content


def protocol_of(run: FinishedRun, train_images: int, *, own_split: bool = False) -> str:
    """What was trained on, what chose the checkpoint, how often the test set was looked at, in one line.

    Args:
        run: The run.
        train_images: Images in the data set's training split, held-out ones included.
        own_split: Whether the data set has a validation split of its own: nothing is held out then.
    """
    watched = "; the test set was also evaluated during training, which chose nothing" if run.watched else ""
    if not run.val_images:
        return f"all {train_images:,} images to train on, the last checkpoint, tested once{watched}"
    chosen = "to choose the checkpoint" if run.which == "best" else "to validate on, the last checkpoint kept"
    trained, kind = (train_images, "others") if own_split else (train_images - run.val_images, "held out")
    return f"{trained:,} images to train on, {run.val_images:,} {kind} {chosen}, tested once{watched}"
