"""Time from the command to the end of the first training step, beside a plain PyTorch program."""

import contextlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from experiments.bench.case import batch_size_of, parse_arch
from experiments.bench.config import BenchConfig
from experiments.bench.epoch import OUR_FLAGS, program_flags
from experiments.bench.table import Row
from experiments.program.console import Console
from experiments.program.errors import ExperimentError

__all__ = ["first_step_rows", "seconds_to_first_record", "time_start"]

# Seconds between looks at the file in which a program records its first step.
POLL_SECONDS = 0.002


def time_start(config: BenchConfig, console: Console) -> list[Row]:
    """Starts both programs in every round, after one start each that fills their caches and is not counted.

    Raises:
        ExperimentError: A program failed.
    """
    arch, _ = parse_arch(config.arch[0])
    batch_size = batch_size_of(arch, config.batch_size)
    flags = [*program_flags(config), "--max-steps", "1"]
    seconds: dict[str, list[float]] = {"jax_resnet": [], "PyTorch": []}
    for number in range(config.rounds + 1):
        with tempfile.TemporaryDirectory() as folder:
            run, log = Path(folder) / "run", Path(folder) / "log.jsonl"
            ours = ["experiments.cifar10", *flags, *OUR_FLAGS, "--log-every", "1", "--workdir", str(run)]
            theirs = ["experiments.bench.torch_cifar10", *flags, "--log", str(log)]
            last = {
                "jax_resnet": seconds_to_first_record(ours, run / "metrics.jsonl"),
                "PyTorch": seconds_to_first_record(theirs, log),
            }
        if number:
            for name, value in last.items():
                seconds[name].append(value)
        text = ", ".join(f"{name} {value:.2f} s" for name, value in last.items())
        console.line(f"round {number} of {config.rounds}: {text}" if number else f"first start: {text}")
    return first_step_rows(arch, batch_size, seconds)


def seconds_to_first_record(arguments: Sequence[str], records: Path) -> float:
    """Starts ``python -m`` with the arguments, waits until it writes a line to ``records``, and ends it.

    Raises:
        ExperimentError: The program ended without a record.
    """
    with tempfile.TemporaryFile("w+") as errors:
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,  # so that it can be ended with the processes that it has started
        )
        try:
            while not _has_line(records):
                if process.poll() is not None and not _has_line(records):
                    errors.seek(0)
                    lines = errors.read().strip().splitlines() or ["it printed no error"]
                    raise ExperimentError(
                        f"{arguments[0]} ended with status {process.returncode} before its first step: "
                        f"{lines[-1]}"
                    )
                time.sleep(POLL_SECONDS)
            return time.perf_counter() - start
        finally:
            _kill_group(process)


def _has_line(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return b"\n" in path.read_bytes()
    return False


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def first_step_rows(arch: str, batch_size: int, seconds: dict[str, list[float]]) -> list[Row]:
    """One row per program, of all starts but the first."""
    return [
        {
            "network": arch,
            "batch": batch_size,
            "by": name,
            "to the first step's end, median (s)": statistics.median(values),
            "fastest (s)": min(values),
            "slowest (s)": max(values),
            "starts": len(values),
        }
        for name, values in seconds.items()
    ]
