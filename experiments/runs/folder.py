"""A run's folder: who owns it, what is in it, how it is written."""

import contextlib
import functools
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.program.errors import ExperimentError
from experiments.runs.lock import FolderLock
from experiments.runs.reading import UnreadableError, read_bytes
from experiments.runs.records import STOPPED, read_records
from experiments.runs.text import printable
from jax_resnet._files import replacing, write_text
from jax_resnet.checkpoint import CHECKPOINTS
from jax_resnet.parallel.collectives import broadcast_from_primary

if TYPE_CHECKING:
    from experiments.runs.tensorboard import TensorBoard

__all__ = ["CONFUSION", "EVALUATION", "OURS", "RunFolder", "open_run", "run_name"]

# What a run writes, its settings first. Whatever else lies in its folder is somebody's, but for an
# evaluation of it.
OURS = (
    "config.json",
    "metrics.jsonl",
    "summary.json",
    "predictions.npz",
    "curves.png",
    CHECKPOINTS,
    "tensorboard",
)
# A step's checkpoint, or one that was set aside.
STEP = re.compile(r"\d+(\.unreadable.*)?")
# By experiments.evaluate --out RUN: true of one end of the run alone.
EVALUATION, CONFUSION = "evaluation.json", "confusion.png"


def run_name(folder: Path) -> str:
    """The folder's name; ``fast-seed0`` for ``fast/seed0``, as ``--seeds`` makes them."""
    folder = folder.resolve()
    return f"{folder.parent.name}-{folder.name}" if re.fullmatch(r"seed\d+", folder.name) else folder.name


class RunFolder:
    """A folder that belongs to one run at a time; of many processes, the first writes in it."""

    def __init__(self, path: Path, *, resume: bool, overwrite: bool) -> None:
        """Makes the folder, or checks that this run may write in it. Nothing is deleted before ``clear``.

        Raises:
            ExperimentError: The folder cannot be written, holds a run and neither ``resume`` nor
                ``overwrite`` is given, or another process is running in it.
        """
        self.path = path
        self._lock: FolderLock | None = None
        self._metrics = path / "metrics.jsonl"
        broadcast_from_primary(lambda: self._open(resume, overwrite), errors=(ExperimentError,))

    def _open(self, resume: bool, overwrite: bool) -> None:
        path = self.path
        try:
            str(path.absolute()).encode()
        except UnicodeEncodeError:
            raise ExperimentError(
                f"--workdir {printable(str(path.absolute()))} is not UTF-8, which checkpoints need: rename it"
            ) from None
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = FolderLock(path)
        except OSError as error:
            raise ExperimentError(
                f"cannot write to --workdir {path}: {error.strerror}; name a folder of yours"
            ) from None
        for name in OURS:  # drafts of a process that was killed while it wrote
            for draft in path.glob(f".{name}.*.tmp"):
                draft.unlink(missing_ok=True)
        if not resume and not overwrite and any((path / name).exists() for name in OURS):
            self._lock.release()
            self._lock = None
            raise ExperimentError(f"{path} holds a run already: --resume it, --overwrite it, or name another")

    @functools.cached_property
    def _tensorboard(self) -> "TensorBoard":
        from experiments.runs.tensorboard import TensorBoard  # imports PyTorch where there is one: a second

        return TensorBoard(self.path / "tensorboard")

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes."""
        return self._lock is not None

    def close(self) -> None:
        """Ends the writing and lets other programs in; removes the folder if nothing was written."""
        if self._lock is None:
            return
        if "_tensorboard" in vars(self):
            self._tensorboard.close()
        self._lock.release()
        with contextlib.suppress(OSError):  # stays where something was written
            self.path.rmdir()

    def log(self, record: dict[str, Any]) -> None:
        """Appends a record to ``metrics.jsonl`` and its numbers to TensorBoard."""
        if not self.writes:
            return
        try:
            with self._metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record, allow_nan=False) + "\n")
        except OSError as error:
            error.filename = str(self._metrics)
            raise
        self._tensorboard.log(record)

    def log_settings(self, settings: Mapping[str, Any], results: Mapping[str, float]) -> None:
        """Shows the run's settings and results in TensorBoard."""
        if self.writes:
            self._tensorboard.hyperparameters(settings, results)

    def records(self) -> list[dict[str, Any]]:
        """All records logged so far; a last line cut short by a crash is left out."""
        records: list[dict[str, Any]] = broadcast_from_primary(lambda: read_records(self._metrics))
        return records

    def rewind(self, step: int) -> None:
        """Drops the records after ``step``, and those of earlier ends of the run: they come again.

        Raises:
            ExperimentError: There are records that cannot be read: they would be lost.
        """
        broadcast_from_primary(self._check_readable, errors=(ExperimentError,))
        ends = ("last", "best", STOPPED)
        kept = [r for r in self.records() if r["step"] <= step and r.get("which") not in ends]
        if self.writes:
            lines = [json.dumps(record, allow_nan=False) + "\n" for record in kept]
            write_text(self._metrics, "".join(lines))

    def _check_readable(self) -> None:
        try:
            if os.path.lexists(self._metrics):
                read_bytes(self._metrics)
        except UnreadableError as error:
            raise ExperimentError(f"{self._metrics} cannot be read: {error}; make it readable") from None

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Writes a JSON file whole or not at all."""
        if self.writes:
            write_text(self.path / name, json.dumps(content, indent=2, allow_nan=False) + "\n")

    def reopen(self) -> None:
        """Removes what describes only an earlier end of the run."""
        if self.writes:
            for name in ("summary.json", "predictions.npz", "curves.png", EVALUATION, CONFUSION):
                (self.path / name).unlink(missing_ok=True)

    def write_predictions(self, labels: np.ndarray, logits_last: np.ndarray, logits_best: np.ndarray) -> None:
        """Writes ``predictions.npz``: the test set's labels, and the logits of two checkpoints."""
        if not self.writes:
            return
        with replacing(self.path / "predictions.npz") as draft, draft.open("wb") as file:
            np.savez(file, labels=labels, logits_last=logits_last, logits_best=logits_best)

    def clear(self) -> None:
        """Deletes the run that was in the folder, and its evaluation."""
        broadcast_from_primary(self._delete)

    def _delete(self) -> None:
        # An interrupted deletion leaves a run, one that is not finished: the settings go last.
        for name in ("summary.json", EVALUATION, CONFUSION, *reversed(OURS)):
            target = self.path / name
            if name == CHECKPOINTS and target.is_symlink() and target.is_dir():
                # On another disk, where the next run's checkpoints go, too; what else is there is not ours.
                for step in (entry for entry in target.iterdir() if STEP.fullmatch(entry.name)):
                    _remove(step)
            else:
                _remove(target)


def _remove(target: Path) -> None:
    """Removes a file, a link, or a folder with all in it."""
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)


@contextlib.contextmanager
def open_run(path: Path, *, resume: bool, overwrite: bool) -> Iterator[RunFolder]:
    """A RunFolder that is closed whatever happens."""
    folder = RunFolder(path, resume=resume, overwrite=overwrite)
    try:
        yield folder
    finally:
        folder.close()
