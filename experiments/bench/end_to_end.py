"""An epoch of ``experiments.cifar10``, from the shell to its summary, against a plain PyTorch program."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from experiments.bench.case import BATCH_SIZES, parse_arch
from experiments.bench.config import BenchConfig
from experiments.program.console import Console
from experiments.program.errors import ExperimentError

Turn = dict[str, float]


def whole_epoch(config: BenchConfig, console: Console) -> list[dict[str, Any]]:
    """Both programs in turns, each a process of its own: training, validation, a checkpoint, the test.

    Raises:
        ExperimentError: One of them failed.
    """
    arch, _ = parse_arch(config.arch[0])
    batch_size = config.batch_size or BATCH_SIZES.get(arch, 64)
    flags = ["--arch", arch, "--batch-size", str(batch_size)]
    turns: dict[str, list[Turn]] = {"jax_resnet": [], "PyTorch": []}
    for turn in range(config.rounds):
        with tempfile.TemporaryDirectory() as folder:
            workdir = Path(folder) / "run"
            ours = ["experiments.cifar10", *flags, "--epochs", "1", "--workdir", str(workdir)]
            theirs = ["experiments.bench.torch_cifar10", *flags]
            turns["jax_resnet"].append(timed(ours, workdir / "summary.json"))
            turns["PyTorch"].append(timed(theirs))
        last = {by: f"{done[-1]['process']:.0f} s" for by, done in turns.items()}
        console.line(f"turn {turn + 1} of {config.rounds}: {last}")
    return epoch_rows(arch, batch_size, turns)


def timed(arguments: list[str], summary: Path | None = None) -> Turn:
    """Runs a module to its end; what it came to is JSON, in a file or else in the last line that it prints.

    Raises:
        ExperimentError: It failed.
    """
    start = time.perf_counter()
    result = subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True)
    process = time.perf_counter() - start
    if result.returncode:
        lines = result.stderr.strip().splitlines() or ["nothing was said"]
        raise ExperimentError(f"{arguments[0]} ended with status {result.returncode}: {lines[-1]}")
    account = json.loads(summary.read_text() if summary else result.stdout.splitlines()[-1])
    return {"process": process, **{name: account[name] for name in ("seconds", "images_per_second")}}


def epoch_rows(arch: str, batch_size: int, turns: dict[str, list[Turn]]) -> list[dict[str, Any]]:
    """A row a program, of medians, and how many times as fast the first is as the second, turn by turn."""
    columns = {
        "training (images/s)": "images_per_second",
        "after set-up (s)": "seconds",
        "whole process (s)": "process",
    }
    rows: list[dict[str, Any]] = [
        {
            "network": arch,
            "batch": batch_size,
            "by": by,
            **{column: statistics.median(turn[key] for turn in done) for column, key in columns.items()},
        }
        for by, done in turns.items()
    ]
    ours, theirs = turns.values()
    ratios: dict[str, Any] = {"network": arch, "batch": batch_size, "by": "times as fast, median"}
    for column, key in columns.items():
        pairs = zip(ours, theirs, strict=True)
        faster = statistics.median(theirs[key] / ours[key] for ours, theirs in pairs)
        ratios[column] = 1 / faster if key == "images_per_second" else faster
    return [*rows, ratios]
