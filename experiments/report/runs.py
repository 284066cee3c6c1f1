"""Runs as their folders have them: found, read, whole or not."""

import contextlib
import dataclasses
import difflib
import json
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.program.errors import ConfigError
from experiments.runs.records import read_records
from experiments.settings.config import Config
from experiments.settings.fields import from_dict

# A folder with one of these is a run's.
SIGNS = ("config.json", "summary.json", "metrics.jsonl")


class Predictions(NamedTuple):
    """What a network made of the test set.

    Attributes:
        labels: int, ``(images,)``.
        logits: float32, ``(images, classes)``, of the checkpoint that was best on validation.
    """

    labels: np.ndarray
    logits: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """One run, with what there is of it.

    Attributes:
        folder: Its folder, as it was named.
        settings: Every flag's value by the name of its field; those that an older version did not have yet
            are at their defaults.
        about: What else ``config.json`` says: ``data``, ``flags``, ``versions``, ``commit``, ``device``.
        summary: ``summary.json``; empty while the run is not finished.
        records: The lines of ``metrics.jsonl``.
        predictions: Of the test set, if there are any.
        notes: What is missing, a sentence each.
    """

    folder: Path
    settings: dict[str, Any]
    about: dict[str, Any]
    summary: dict[str, Any]
    records: list[dict[str, Any]]
    predictions: Predictions | None
    notes: tuple[str, ...]

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """The records of training ("train"), validation ("val") or test ("test")."""
        return [record for record in self.records if record.get("kind") == kind]

    def setting(self, name: str) -> Any:
        """A setting; from the summary, if ``config.json`` is missing."""
        return self.settings.get(name, self.summary.get(name))

    @property
    def device(self) -> str | None:
        """What computed."""
        return self.summary.get("device") or self.about.get("device")

    def reached(self, quantity: str) -> float | None:
        """The ``epochs``, ``steps``, ``seconds`` or ``images_per_second`` of the run, so far."""
        if quantity in self.summary:
            return self.summary[quantity]
        train = self.of_kind("train")
        if quantity == "images_per_second":
            rates = [record["images_per_second"] for record in train if record.get("images_per_second")]
            return float(np.median(rates)) if rates else None
        name = {"epochs": "epoch", "steps": "step"}.get(quantity, quantity)
        return max((record[name] for record in train if name in record), default=None)


def find_runs(paths: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """The run folders named, or inside of those named, each once, and notes on those named twice.

    Raises:
        ConfigError: A path at which there is no run.
    """
    found: dict[Path, Path] = {}
    notes = []
    for path in paths:
        if not path.is_dir():
            raise ConfigError(f"{path} is {'a file' if path.exists() else 'not there'}{_hint(path)}")
        inside = list(_search(path))
        if not inside:
            raise ConfigError(f"{path} holds no run: none of {', '.join(SIGNS)}{_hint(path)}")
        for folder in inside:
            if folder.resolve() in found:
                notes.append(f"{folder} was named more than once and counts once.")
            found.setdefault(folder.resolve(), folder)
    return list(found.values()), notes


def read_run(folder: Path) -> Run:
    """Reads a run's folder, however much of it is there."""
    notes = []
    about = _read_json(folder / "config.json")
    summary = _read_json(folder / "summary.json")
    records = [r for r in read_records(folder / "metrics.jsonl") if {"kind", "step", "epoch"} <= set(r)]
    settings = _settings(about.get("config", {}))
    predictions = _read_predictions(folder / "predictions.npz")
    if not about:
        notes.append("no readable config.json: its settings are not known, it is compared with no other run")
    if not records:
        notes.append("no readable metrics.jsonl: it has no curves")
    if not summary:
        reached = max((record["step"] for record in records), default=0)
        notes.append(f"not finished: no summary.json; it got to step {reached:,}")
    elif (total := summary.get("total_steps", 0)) > summary.get("steps", total):
        notes.append(f"stopped at step {summary['steps']:,} of the {total:,} of its schedule")
    if predictions is None and summary:
        notes.append("no readable predictions.npz: it has no confusion matrix and no mistakes to show")
    return Run(folder, settings, about, summary, records, predictions, tuple(notes))


def _is_run(path: Path) -> bool:
    return any((path / sign).is_file() for sign in SIGNS)


def _search(path: Path) -> Iterator[Path]:
    if _is_run(path):
        yield path
        return
    for folder in sorted(path.iterdir()):
        if folder.is_dir() and not folder.name.startswith("."):
            yield from _search(folder)


def _hint(path: Path) -> str:
    with contextlib.suppress(OSError):
        siblings = [folder for folder in path.absolute().parent.iterdir() if folder.name != path.name]
        runs = [folder.name for folder in siblings if any(map(_is_run, [folder, *folder.glob("*")]))]
        if near := difflib.get_close_matches(path.name, runs, n=1):
            return f"; did you mean {path.parent / near[0]}?"
    return "; name a run's folder, or a folder that holds some"


def _settings(written: dict[str, Any]) -> dict[str, Any]:
    if not written:
        return {}
    with contextlib.suppress(TypeError, AttributeError):
        written = dataclasses.asdict(from_dict(Config, written))
    flat: dict[str, Any] = {}
    for name, value in written.items():
        flat.update(value if isinstance(value, dict) else {name: value})
    return flat


def _read_json(path: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        content = json.loads(path.read_text())
        return content if isinstance(content, dict) else {}
    return {}


def _read_predictions(path: Path) -> Predictions | None:
    with contextlib.suppress(OSError, ValueError, KeyError, zipfile.BadZipFile), np.load(path) as arrays:
        return Predictions(arrays["labels"], arrays["logits_best"])
    return None
