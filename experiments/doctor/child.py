"""Runs checks in a process of its own: a crash or a hang there is a finding here.

It reads one job as JSON from standard input, and writes to standard output one JSON object per line:
``{"begin": name}``, ``{"finding": {...}}`` and ``{"end": name, "seconds": s}``.
"""

import dataclasses
import importlib
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from experiments.doctor.checks import ALL
from experiments.doctor.config import DoctorConfig
from experiments.doctor.finding import Check, Finding, problem
from experiments.program.malloc import keep_freed_memory
from jax_resnet.errors import JaxResnetError

__all__ = ["main", "run_check"]


def main() -> None:
    """Runs the job's checks."""
    keep_freed_memory()  # as the programs do, before jax is imported
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # What libraries print must not mix with the answers.
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    config = DoctorConfig(**job["config"])
    for name in job["checks"]:
        _write(answers, {"begin": name})
        start = time.perf_counter()
        for finding in run_check(ALL[name], config):
            _write(answers, {"finding": dataclasses.asdict(finding)})
        _write(answers, {"end": name, "seconds": time.perf_counter() - start})


def run_check(check: Check, config: DoctorConfig) -> Iterator[Finding]:
    """Runs a check; whatever it raises is its last finding."""
    try:
        module, _, function = check.function.partition(":")
        yield from getattr(importlib.import_module(f"experiments.doctor.{module}"), function)(config)
    except Exception as error:
        yield failure(check.name, error)


def failure(label: str, error: Exception) -> Finding:
    """An error that a check raised, with its place in our code where it is not one for users."""
    text = " ".join(str(error).split())[:300] or type(error).__name__
    if isinstance(error, JaxResnetError):
        return problem(label, text, "see the message")
    if isinstance(error, ImportError):
        return problem(
            label, f"{type(error).__name__}: {text}", "install what is missing: see Install in README.md"
        )
    if isinstance(error, OSError):
        return problem(
            label, f"{type(error).__name__}: {text}", "check that the file or folder can be read and written"
        )
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_ours(frame.filename)]
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return problem(label, f"{type(error).__name__}{where}: {text}", "report this with the whole output")


def _is_ours(filename: str) -> bool:
    return bool({"jax_resnet", "experiments", "tests"} & set(Path(filename).parts[:-1]))


def _write(answers: TextIO, content: dict[str, Any]) -> None:
    print(json.dumps(content), file=answers, flush=True)


def _end_with_parent() -> None:
    """Ends this process when the one that started it has ended, however it did."""
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
