"""One epoch of ``experiments.cifar10``, from the shell to its summary, beside a plain PyTorch program."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.bench.case import batch_size_of, parse_arch
from experiments.bench.config import BenchConfig
from experiments.bench.table import Row
from experiments.program.console import Console
from experiments.program.errors import ExperimentError

__all__ = [
    "OUR_FLAGS",
    "data_flags",
    "epoch_rows",
    "program_flags",
    "run_program",
    "run_to_report",
    "time_epoch",
]

# The PyTorch program computes in float32, too.
OUR_FLAGS = ("--dtype", "f32")
# What a program reports: "process", "seconds" and "images_per_second".
Report = dict[str, float]


def time_epoch(config: BenchConfig, console: Console) -> list[Row]:
    """Runs both programs in every round: training, validation, a checkpoint and the test.

    Raises:
        ExperimentError: A program failed.
    """
    arch, _ = parse_arch(config.arch[0])
    batch_size = batch_size_of(arch, config.batch_size)
    flags = program_flags(config)
    reports: dict[str, list[Report]] = {"jax_resnet": [], "PyTorch": []}
    for number in range(config.rounds):
        with tempfile.TemporaryDirectory() as folder:
            workdir = Path(folder) / "run"
            ours = ["experiments.cifar10", *flags, *OUR_FLAGS, "--epochs", "1", "--workdir", str(workdir)]
            theirs = ["experiments.bench.torch_cifar10", *flags]
            reports["jax_resnet"].append(run_program(ours, workdir / "summary.json"))
            reports["PyTorch"].append(run_program(theirs))
        last = ", ".join(f"{name} {done[-1]['process']:.0f} s" for name, done in reports.items())
        console.line(f"round {number + 1} of {config.rounds}: {last}")
    return epoch_rows(arch, batch_size, reports)


def program_flags(config: BenchConfig) -> list[str]:
    """Flags of the first network and its data, which both programs take."""
    arch, _ = parse_arch(config.arch[0])
    return [
        *("--arch", arch, "--batch-size", str(batch_size_of(arch, config.batch_size))),
        *data_flags(config),
    ]


def data_flags(config: BenchConfig) -> list[str]:
    """Flags of the data, which both programs take."""
    sizes = {"cifar10": 5000, "digits": 300}
    return ["--dataset", config.dataset, "--val-size", str(sizes[config.dataset])]


def run_program(arguments: Sequence[str], summary: Path | None = None) -> Report:
    """Runs ``python -m`` with the arguments to its end and reads its JSON report.

    Args:
        arguments: A module and its flags.
        summary: The file with the report; without one it is the last line of standard output.

    Raises:
        ExperimentError: The program failed.
    """
    start = time.perf_counter()
    report = run_to_report(arguments, summary)
    seconds = time.perf_counter() - start
    return {"process": seconds, **{name: report[name] for name in ("seconds", "images_per_second")}}


def run_to_report(arguments: Sequence[str], summary: Path | None = None) -> dict[str, Any]:
    """Runs ``python -m`` with the arguments to its end; returns its whole JSON report.

    Raises:
        ExperimentError: The program failed.
    """
    result = subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True)
    if result.returncode:
        lines = result.stderr.strip().splitlines() or ["it printed no error"]
        raise ExperimentError(f"{arguments[0]} ended with status {result.returncode}: {lines[-1]}")
    report: dict[str, Any] = json.loads(summary.read_text() if summary else result.stdout.splitlines()[-1])
    return report


def epoch_rows(arch: str, batch_size: int, reports: dict[str, list[Report]]) -> list[Row]:
    """One row of medians per program, and a row with the median over rounds of the first's speed-up."""
    columns = {
        "training (images/s)": "images_per_second",
        "after set-up (s)": "seconds",
        "whole process (s)": "process",
    }
    rows: list[Row] = [
        {
            "network": arch,
            "batch": batch_size,
            "by": name,
            **{column: statistics.median(report[key] for report in done) for column, key in columns.items()},
        }
        for name, done in reports.items()
    ]
    ours, theirs = reports.values()
    ratios: Row = {"network": arch, "batch": batch_size, "by": "times as fast, median"}
    for column, key in columns.items():
        ratio = statistics.median(b[key] / a[key] for a, b in zip(ours, theirs, strict=True))
        ratios[column] = 1 / ratio if key == "images_per_second" else ratio
    return [*rows, ratios]
