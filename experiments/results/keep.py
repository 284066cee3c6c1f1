"""Copies the small files of finished runs into ``experiments/results/``."""

import copy
import dataclasses
import json
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.program.errors import ConfigError
from experiments.report.find import find_runs
from experiments.report.runs import Run, read_run
from experiments.report.settings import FOLDER, compared_settings, read_settings
from experiments.results.compact import compact_predictions, thin_records
from experiments.runs.folder import EVALUATION, run_name
from experiments.runs.reading import UnreadableError, read_json
from experiments.settings.config import RunConfig
from experiments.settings.resume import changeable
from jax_resnet._files import write_bytes

__all__ = ["keep_runs", "read_finished_runs"]

PREDICTIONS = "predictions.npz"
# Settings and flags that name places of a machine; of some the last part of the path means something.
PLACES: dict[tuple[str, str], list[str] | str | None] = {
    ("data", "data_dir"): None,
    ("data", "archive"): None,
    ("data", "mirror"): [],
    ("run", "workdir"): None,
    ("run", "compilation_cache"): RunConfig().compilation_cache,
    ("parallel", "coordinator"): None,
}
PLACE_FLAGS = ("--data-dir", "--archive", "--mirror", "--workdir", "--coordinator", "--compilation-cache")


@dataclasses.dataclass(frozen=True)
class SmallRun:
    """A run as it is kept, without what is large.

    Attributes:
        folder: Where.
        files: Content by name; the summary, which makes a run a finished one, comes last.
        note: What was reduced or left out; empty for nothing.
    """

    folder: Path
    files: dict[str, bytes]
    note: str

    def is_there(self) -> bool:
        """Whether the folder holds exactly this already."""
        there = {path.name for path in self.folder.iterdir() if path.is_file()}
        return set(self.files) == there and all(
            (self.folder / name).read_bytes() == content for name, content in self.files.items()
        )


def keep_runs(
    paths: Sequence[Path], out: Path, *, prefix: str, overwrite: bool, report: Callable[[str], None]
) -> None:
    """Copies settings, metrics, summary and compact predictions of runs to folders of their names.

    All runs are checked before anything is written.

    Args:
        paths: Folders of runs, or folders that hold such folders.
        out: The folder of the kept runs.
        prefix: Text before the name of every kept folder.
        overwrite: Replace other kept runs of the same names.
        report: Gets a line per run.

    Raises:
        ConfigError: A run is not finished or damaged, or its name is taken.
        OSError: The folder cannot be written.
    """
    if "/" in prefix or prefix.startswith("."):
        raise ConfigError(f"--prefix is the beginning of a folder's name, not {prefix}")
    kept: dict[str, SmallRun] = {}
    sources: dict[str, Path] = {}
    for run in read_finished_runs(paths):
        name = prefix + run_name(run.folder)
        if name in kept:
            raise ConfigError(
                f"{sources[name]} and {run.folder} would both be kept as {name}: keep them in two calls "
                "with different --prefix"
            )
        kept[name], sources[name] = _reduce(run, out / name), run.folder
    new = [name for name, small in kept.items() if not (small.folder.is_dir() and small.is_there())]
    taken = [name for name in new if kept[name].folder.exists()]
    if taken and not overwrite:
        raise ConfigError(
            f"{out / taken[0]} holds another run already: --overwrite it, or give a --prefix"
            + (f" (and {len(taken) - 1} more)" if len(taken) > 1 else "")
        )
    for name, small in kept.items():
        if name in new:
            _write(small)
        size = sum(map(len, small.files.values())) / 1024
        state = "kept as" if name in new else "is kept already as"
        report(f"{sources[name]} {state} {small.folder}, {size:.0f} KiB{small.note and '; ' + small.note}")


def read_finished_runs(paths: Sequence[Path]) -> list[Run]:
    """Reads finished runs.

    Raises:
        ConfigError: A run is not finished, or a file of it is damaged.
    """
    folders, _ = find_runs(paths)
    runs = [read_run(folder) for folder in folders]
    for run in runs:
        without_predictions = not (run.folder / PREDICTIONS).exists()
        notes = [n for n in run.notes if not (without_predictions and f"readable {PREDICTIONS}" in n)]
        if notes:
            raise ConfigError(f"{run.folder}: {notes[0]}; only finished runs without damage are kept")
        if run.summary and run.summary.best_checkpoint_lost:
            raise ConfigError(f"{run.folder}: its best checkpoint is lost; only runs without damage are kept")
        if run.summary is None or run.summary.test_accuracy is None or not run.settings:
            raise ConfigError(f"{run.folder}: no settings or no test accuracy; only finished runs are kept")
    return runs


def _reduce(run: Run, folder: Path) -> SmallRun:
    config, summary = read_json(run.folder / "config.json"), read_json(run.folder / "summary.json")
    config, notes = _without_places(config), {}
    records, every = thin_records(run.records)
    if every > 1:
        notes["metrics"] = f"1 of {every} training records, all others"
    predictions = None
    if run.predictions is not None:
        if predictions := compact_predictions(run.predictions):
            notes["predictions"] = f"logits rounded to {predictions[1]:g}"
        else:
            notes["predictions"] = "left out, too large"
    if notes:
        config["kept"] = notes
    files = {
        "config.json": _json(config),
        "metrics.jsonl": "".join(json.dumps(record) + "\n" for record in records).encode(),
        **({PREDICTIONS: predictions[0]} if predictions else {}),
        **_evaluation(run),
        "summary.json": _json(summary),
    }
    return SmallRun(folder, files, "; ".join(f"{name}: {note}" for name, note in notes.items()))


def _write(run: SmallRun) -> None:
    """Writes the run beside its place, then there: a full disk or a kill leaves what was there before."""
    draft, old = (run.folder.with_name(f".{run.folder.name}.{kind}") for kind in ("tmp", "old"))
    _put_back(old, run.folder)  # after a kill between the renames below
    try:
        for folder in (draft, old):
            shutil.rmtree(folder, ignore_errors=True)
        draft.mkdir(parents=True)
        for name, content in run.files.items():
            write_bytes(draft / name, content)
        if run.folder.exists():
            run.folder.rename(old)
        draft.rename(run.folder)
    finally:
        _put_back(old, run.folder)
        for folder in (draft, old):
            shutil.rmtree(folder, ignore_errors=True)


def _put_back(old: Path, place: Path) -> None:
    if old.exists() and not place.exists():
        old.rename(place)


def _evaluation(run: Run) -> dict[str, bytes]:
    """The evaluation that lies in a run folder, if there is one; its weights are those of the run.

    Raises:
        ConfigError: It cannot be read, or is of another run.
    """
    path = run.folder / EVALUATION
    if not path.exists():
        return {}
    try:
        content = read_json(path)
    except UnreadableError as error:
        raise ConfigError(f"{path}: {error}; remove it, or evaluate again") from None
    evaluated, _ = read_settings(content.pop("settings", None))
    if _fixed(evaluated) != _fixed(run.settings):
        raise ConfigError(f"{path} is not of this run; remove it, or evaluate again")
    if (content.get("which") or "best") != "best":
        raise ConfigError(
            f"{path} is of the {content['which']} checkpoint, not of the one that is reported; evaluate again"
        )
    return {EVALUATION: _json({**content, "weights": run_name(run.folder)})}


def _fixed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that stay the same from a run's first checkpoint to its end, however it is resumed."""
    compared = {"seed": settings.get("seed"), **compared_settings(settings)}
    return {name: value for name, value in compared.items() if name not in changeable()}


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def _without_places(config: dict[str, Any]) -> dict[str, Any]:
    """The content of ``config.json`` without paths and addresses of the machine that wrote it."""
    config = copy.deepcopy(config)
    settings = config["config"]
    for (group, name), default in PLACES.items():
        values = settings.get(group, {})
        if isinstance(values, dict) and values.get(name):
            named = name == "data_dir" and values.get("dataset") == FOLDER
            values[name] = Path(values[name]).name if named else default
    model = settings.get("model")
    if isinstance(model, dict) and model.get("init_from"):
        model["init_from"] = Path(model["init_from"]).name
    resumed = config.get("resumed")
    parts = [part for part in resumed if isinstance(part, dict)] if isinstance(resumed, list) else []
    for part in (config, *parts):
        if part.get("flags"):
            part["flags"] = _flags_without_places(part["flags"])
        if part.get("command"):
            try:
                words = shlex.split(part["command"])
            except ValueError:  # was not written by a program of this package
                words = []
            part["command"] = shlex.join(_flags_without_places(words)) or None
    return config


def _flags_without_places(words: Sequence[str]) -> list[str]:
    kept, flag = [], ""
    for word in words:
        if word.startswith("--"):
            flag = word.partition("=")[0]
        if flag == "--init-from":
            kept.append(f"{flag}={Path(word).name}" if word.startswith(f"{flag}=") else Path(word).name)
        elif flag not in PLACE_FLAGS:
            kept.append(word)
    return kept
