"""Runs as read from their folders: everything is checked here once, the rest of the report trusts it."""

import dataclasses
import re
from pathlib import Path
from typing import Annotated, Any

from experiments.report.predictions import Predictions, read_predictions
from experiments.report.settings import read_settings
from experiments.runs.reading import MIB, UnreadableError, read_json
from experiments.runs.records import read_records_with_notes
from experiments.runs.schema import (
    AMOUNT,
    COUNT,
    FRACTION,
    NUMBER,
    TEXT,
    TEXT_MAP,
    TEXTS,
    read_checked,
)
from experiments.runs.series import records_of_kind, training_speed
from experiments.runs.text import printable

__all__ = ["Environment", "Run", "Summary", "read_run"]

MAX_METRICS_BYTES, MAX_METRICS_LINES = 512 * MIB, 2_000_000
NAME_LENGTH = 100


@dataclasses.dataclass(frozen=True)
class Summary:
    """The part of ``summary.json`` that reports use; accuracies are fractions."""

    arch: Annotated[str | None, TEXT] = None
    recipe: Annotated[str | None, TEXT] = None
    dataset: Annotated[str | None, TEXT] = None
    device: Annotated[str | None, TEXT] = None
    versions: Annotated[dict[str, str] | None, TEXT_MAP] = None
    seed: Annotated[int | None, COUNT] = None
    parameters: Annotated[int | None, COUNT] = None
    steps: Annotated[int | None, COUNT] = None
    total_steps: Annotated[int | None, COUNT] = None
    epochs: Annotated[float | None, AMOUNT] = None
    seconds: Annotated[float | None, AMOUNT] = None
    images_per_second: Annotated[float | None, AMOUNT] = None
    val_accuracy: Annotated[float | None, FRACTION] = None
    test_accuracy: Annotated[float | None, FRACTION] = None
    test_accuracy_best: Annotated[float | None, FRACTION] = None
    test_loss: Annotated[float | None, NUMBER] = None
    best_checkpoint_lost: Annotated[str | None, TEXT] = None


@dataclasses.dataclass(frozen=True)
class Environment:
    """What ``config.json`` says beside the settings.

    Attributes:
        flags: The flags of the command line.
        command: The command line.
        versions: Version by package.
        commit: The commit of the code.
        device: The devices that computed.
        class_names: The data set's, in the order of their labels.
    """

    flags: Annotated[list[str] | None, TEXTS] = None
    command: Annotated[str | None, TEXT] = None
    versions: Annotated[dict[str, str] | None, TEXT_MAP] = None
    commit: Annotated[str | None, TEXT] = None
    device: Annotated[str | None, TEXT] = None
    class_names: Annotated[list[str] | None, TEXTS] = None


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """One run, as far as its folder can be read.

    Attributes:
        folder: Its folder, as the user named it.
        settings: The value of every flag by the name of its field; empty where it is not known.
        environment: What else ``config.json`` says.
        summary: ``summary.json``; None while the run is not finished.
        records: The valid lines of ``metrics.jsonl``.
        predictions: On the test set; None where there are none.
        notes: What is missing or was left out, a sentence each.
    """

    folder: Path
    settings: dict[str, Any]
    environment: Environment
    summary: Summary | None
    records: list[dict[str, Any]]
    predictions: Predictions | None
    notes: tuple[str, ...]

    def records_of_kind(self, kind: str) -> list[dict[str, Any]]:
        """The records of training ("train"), validation ("val") or test ("test")."""
        return records_of_kind(self.records, kind)

    def setting(self, name: str) -> Any:
        """A setting; from the summary where ``config.json`` is missing."""
        return self.settings.get(name, getattr(self.summary, name, None))

    @property
    def device(self) -> str | None:
        """The devices that computed."""
        device = (self.summary and self.summary.device) or self.environment.device
        # Runs of older versions say "1 cores".
        return re.sub(r"\b1 cores\b", "1 core", printable(device)) if device else None

    @property
    def versions(self) -> dict[str, str]:
        """Version by package, of the last part of the run that trained."""
        found = (self.summary and self.summary.versions) or self.environment.versions or {}
        return {printable(name, NAME_LENGTH): printable(found[name], NAME_LENGTH) for name in found}

    def reached(self, quantity: str) -> float | None:
        """The run's "epochs", "seconds" or "images_per_second" so far."""
        value: float | None = getattr(self.summary, quantity, None)
        if value:
            return value
        train = self.records_of_kind("train")
        if quantity == "images_per_second":
            return training_speed(train)
        name = "epoch" if quantity == "epochs" else quantity
        return max((record[name] for record in train if record.get(name) is not None), default=None)


def read_run(folder: Path) -> Run:
    """Reads a run's folder; what is missing, damaged or of the wrong kind is left out and noted."""
    notes: list[str] = []
    content = _read_object(folder / "config.json", "its settings are not known, it stands alone", notes)
    settings, wrong = read_settings(content.get("config"))
    environment = _read_environment(content, wrong)
    records, left_out = read_records_with_notes(
        folder / "metrics.jsonl", max_bytes=MAX_METRICS_BYTES, max_lines=MAX_METRICS_LINES
    )
    if not records:
        left_out.append("no readable metrics.jsonl: it has no curves")
    summary = _read_summary(folder, records, notes)
    predictions = None
    try:
        predictions = read_predictions(folder / "predictions.npz")
    except UnreadableError as error:
        if summary is not None or (folder / "predictions.npz").is_file():
            left_out.append(f"no readable predictions.npz: it has no confusion matrix ({error})")
    cleaned = tuple(printable(note, 500) for note in [*notes, *wrong, *left_out])
    return Run(folder, settings, environment, summary, records, predictions, cleaned)


def _read_object(path: Path, consequence: str, notes: list[str]) -> dict[str, Any]:
    try:
        return read_json(path)
    except UnreadableError as error:
        notes.append(f"no readable {path.name}: {consequence} ({error})")
        return {}


def _read_environment(content: dict[str, Any], notes: list[str]) -> Environment:
    data = content.get("data")
    names = data.get("class_names") if isinstance(data, dict) else None
    environment, wrong = read_checked(Environment, {**content, "class_names": names}, "config.json")
    notes += wrong
    return dataclasses.replace(
        environment,
        class_names=[printable(name, NAME_LENGTH) for name in environment.class_names or []],
        flags=[printable(flag, 1000) for flag in environment.flags or []],
        command=printable(environment.command or "", 10_000) or None,
        commit=printable(environment.commit or "", NAME_LENGTH) or None,
    )


def _read_summary(folder: Path, records: list[dict[str, Any]], notes: list[str]) -> Summary | None:
    try:
        summary, wrong = read_checked(Summary, read_json(folder / "summary.json"), "summary.json")
    except UnreadableError as error:
        step = max((record["step"] for record in records), default=0)
        reason = "no summary.json" if not (folder / "summary.json").exists() else f"summary.json is {error}"
        notes.append(f"not finished: {reason}; it got to step {step:,}")
        return None
    notes += wrong
    steps, total = summary.steps, summary.total_steps
    if steps is not None and total is not None and steps < total:
        notes.append(f"stopped at step {steps:,} of the {total:,} of its schedule")
    return summary
