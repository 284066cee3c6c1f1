"""A run's folder: who owns it, what is in it, how it is written."""

import contextlib
import fcntl
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import jax
import numpy as np
from tensorboardX import SummaryWriter

import jax_resnet
from experiments.program.errors import ExperimentError
from experiments.program.malloc import malloc_state
from experiments.runs.records import read_records
from jax_resnet import layers
from jax_resnet.checkpoint import CHECKPOINTS
from jax_resnet.parallel import broadcast_from_primary

# All that --overwrite deletes: whatever else lies in the folder is somebody's.
OURS = (
    "config.json",
    "metrics.jsonl",
    "summary.json",
    "predictions.npz",
    "curves.png",
    CHECKPOINTS,
    "tensorboard",
)

# The "which" of test records that are there for the curve alone, see --test-every.
WATCHED = "watched"


class RunFolder:
    """Opens a folder for one run at a time, and appends its metrics; of many processes, the first does."""

    def __init__(self, path: Path, *, resume: bool, overwrite: bool) -> None:
        """Makes the folder, or checks that it is this run's to write in.

        Raises:
            ExperimentError: The folder cannot be written, holds a run and neither ``resume`` nor
                ``overwrite`` is given, or another process is running in it.
        """
        self.path = path
        self._lock: TextIO | None = None
        self._events: SummaryWriter | None = None
        self._metrics = path / "metrics.jsonl"
        broadcast_from_primary(lambda: self._open(resume, overwrite), errors=(ExperimentError,))

    def _open(self, resume: bool, overwrite: bool) -> None:
        path = self.path
        try:
            path.mkdir(parents=True, exist_ok=True)
            lock = (path / ".lock").open("w")
        except OSError as error:
            raise ExperimentError(
                f"cannot write to --workdir {path}: {error.strerror}; name a folder of yours"
            ) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise ExperimentError(f"another process is running in {path}; name another --workdir") from None
        if overwrite:
            self._delete()
        elif not resume and any((path / name).exists() for name in OURS):
            lock.close()
            raise ExperimentError(f"{path} holds a run already: --resume it, --overwrite it, or name another")
        self._lock = lock

    @property
    def writes(self) -> bool:
        """Whether this is the process that writes."""
        return self._lock is not None

    def close(self) -> None:
        """Ends the writing, and lets others in."""
        if self._lock is None:
            return
        if self._events is not None:
            self._events.close()
        (self.path / ".lock").unlink(missing_ok=True)
        self._lock.close()
        with contextlib.suppress(OSError):  # left behind only where something was written
            self.path.rmdir()

    def log(self, record: dict[str, Any]) -> None:
        """Appends a record to ``metrics.jsonl`` and its numbers to TensorBoard."""
        if not self.writes:
            return
        with self._metrics.open("a") as file:
            file.write(json.dumps(record) + "\n")
        if self._events is None:  # not before: a run that never starts leaves nothing behind
            self._events = SummaryWriter(str(self.path / "tensorboard"))
        for name, value in record.items():
            if name not in ("kind", "step", "which") and isinstance(value, int | float):
                self._events.add_scalar(f"{record['kind']}/{name}", value, record["step"])

    def records(self) -> list[dict[str, Any]]:
        """Everything logged so far; a last line cut short by a crash is left out."""
        records: list[dict[str, Any]] = broadcast_from_primary(lambda: read_records(self._metrics))
        return records

    def rewind(self, step: int) -> None:
        """Drops what was logged after ``step``, and the tests at earlier ends: it comes again."""
        ends = ("last", "best")
        kept = [r for r in self.records() if r["step"] <= step and r.get("which") not in ends]
        self._replace("metrics.jsonl", "".join(json.dumps(record) + "\n" for record in kept))

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Writes a file whole or not at all."""
        self._replace(name, json.dumps(content, indent=2) + "\n")

    def write_predictions(self, labels: np.ndarray, logits_last: np.ndarray, logits_best: np.ndarray) -> None:
        """Writes ``predictions.npz``: the test set's labels, and what two checkpoints made of it."""
        if not self.writes:
            return
        np.savez(
            self.path / "predictions.npz", labels=labels, logits_last=logits_last, logits_best=logits_best
        )

    def _replace(self, name: str, text: str) -> None:
        if not self.writes:
            return
        draft = self.path / f".{name}"
        draft.write_text(text)
        draft.replace(self.path / name)

    def _delete(self) -> None:
        for name in OURS:
            target = self.path / name
            if target.is_dir():
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


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
    found = {name: importlib.metadata.version(name) for name in packages}
    return {"jax-resnet": jax_resnet.__version__, "python": platform.python_version(), **found}


def device() -> str:
    """What computes: kind and number of the devices, and of a CPU the cores this process may use."""
    devices = jax.devices()
    processes = f" each of {jax.process_count()} processes" if jax.process_count() > 1 else ""
    if devices[0].platform == "cpu":
        count = "" if len(devices) == 1 else f"{len(devices)} x "
        return f"{count}cpu, {len(os.sched_getaffinity(0))} cores{processes}"
    return f"{len(devices)} x {devices[0].device_kind}{processes}"


def provenance() -> dict[str, Any]:
    """How to come by the same run again: flags, versions, commit, device; and what makes it fast."""
    root = Path(jax_resnet.__file__).parents[1]
    try:
        commit = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = None  # installed, not checked out: the version must do
    return {
        "flags": sys.argv[1:],
        "versions": versions(),
        "commit": commit,
        "device": device(),
        "convolution": str(layers.info()),
        "memory": malloc_state(),
    }
