"""What every fault family needs: programs to break, a run to compare with, and counts."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jax_resnet.checkpoint import manifest

ROOT = Path(__file__).parents[2]
# A real training of seconds: scikit-learn's digits, 41 steps per epoch, a checkpoint every few steps.
FLAGS = [
    *("--dataset", "digits", "--arch", "resnet8", "--batch-size", "32", "--val-size", "100"),
    *("--log-every", "1", "--crop-padding", "1"),
]
OFTEN = ("--checkpoint-minutes", "0.0001")
VARY = ("seconds", "images_per_second")


class Row(NamedTuple):
    """A row of the table: of ``tries``, ``lost`` lost something."""

    fault: str
    tries: int
    lost: int
    note: str = ""


class LostError(AssertionError):
    """Something was lost; the message says what."""


def expect(condition: object, message: str) -> None:
    if not condition:
        raise LostError(message)


def count(fault: str, cases: list[Callable[[], None]], note: str = "") -> Row:
    """Tries every case, and prints each that loses something."""
    lost = 0
    for number, case in enumerate(cases, 1):
        try:
            case()
        except LostError as error:
            lost += 1
            print(f"  lost, {fault}, try {number}: {error}", flush=True)
    return Row(fault, len(cases), lost, note)


class Programs:
    """Starts programs that share a cache of compilations, and ends those that are left."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._started: list[subprocess.Popen[str]] = []
        cache = os.environ.get("JAX_COMPILATION_CACHE_DIR", str(folder / "compiled"))
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "JAX_COMPILATION_CACHE_DIR": cache,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
        }

    def start(self, *command: object, **environment: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env={**self.environment, **environment},
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def run(self, *command: object, seconds: float = 300, **environment: str) -> tuple[int, str]:
        """Exit code and standard error; no traceback, and no more than ``seconds``."""
        process = self.start(*command, **environment)
        try:
            _, error = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            kill(process)
            raise LostError(f"{command[:4]} hung for {seconds} s") from None
        expect("Traceback" not in error, f"a traceback: {error[-500:]}")
        return process.returncode, error

    def train(self, workdir: Path, *flags: object, **environment: str) -> None:
        """Trains to the end."""
        code, error = self.run("-m", "experiments.cifar10", "--workdir", workdir, *flags, **environment)
        expect(code == 0, f"exit code {code}: {error.strip()[-300:]}")

    def close(self) -> None:
        for process in self._started:
            if process.poll() is None:
                kill(process)


def kill(process: "subprocess.Popen[str]") -> None:
    """SIGKILL to the process and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def records(workdir: Path, *kinds: str) -> list[dict]:
    """Records without what depends on the clock; a last line cut short by a kill is none."""
    found = []
    if not (workdir / "metrics.jsonl").exists():
        return found
    for line in (workdir / "metrics.jsonl").read_text().splitlines():
        with contextlib.suppress(ValueError):
            record = json.loads(line)
            if not kinds or record["kind"] in kinds:
                found.append({name: value for name, value in record.items() if name not in VARY})
    return found


def steps(workdir: Path) -> list[int]:
    """Steps of the checkpoints that have their name."""
    folder = workdir / "checkpoints"
    return sorted(int(path.name) for path in folder.glob("*") if path.name.isdigit())


def expect_whole(workdir: Path) -> None:
    """Every checkpoint with a name is as its checksums say."""
    for step in steps(workdir):
        folder = workdir / "checkpoints" / str(step)
        trouble = "no checksums" if not manifest.exists(folder) else manifest.damage(folder)
        expect(not trouble, f"checkpoint {step}: {trouble}")


def expect_nothing_left(folder: Path) -> None:
    """No temporary file or folder."""
    left = [str(path.relative_to(folder)) for path in folder.rglob("*") if "tmp" in path.name]
    expect(not left, f"left behind: {left}")


def expect_same_end(workdir: Path, reference: Path) -> None:
    """The same validations, tests and predictions, to the last bit."""
    for kinds in (("val",), ("test",)):
        expect(records(workdir, *kinds) == records(reference, *kinds), f"other {kinds[0]} records")
    with np.load(workdir / "predictions.npz") as one, np.load(reference / "predictions.npz") as other:
        for name in other.files:
            expect(np.array_equal(one[name], other[name]), f"other {name}")
    expect_whole(workdir)
    expect_nothing_left(workdir)
