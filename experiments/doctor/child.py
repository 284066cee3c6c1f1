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
from collections.abc import Iterator
from typing import Any, TextIO

from experiments.doctor.config import DoctorConfig
from experiments.doctor.failure import failure
from experiments.doctor.finding import Check, Finding
from jax_resnet._malloc import keep_freed_memory

__all__ = ["main", "run_check"]


def main() -> None:
    """Runs the job's checks."""
    keep_freed_memory()  # as the programs do, before jax is imported
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # What libraries print must not mix with the answers.
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    config = DoctorConfig(**job["config"])
    for check in (Check(**fields) for fields in job["checks"]):
        _write(answers, {"begin": check.name})
        start = time.perf_counter()
        for finding in run_check(check, config):
            _write(answers, {"finding": dataclasses.asdict(finding)})
        _write(answers, {"end": check.name, "seconds": time.perf_counter() - start})


def run_check(check: Check, config: DoctorConfig) -> Iterator[Finding]:
    """Runs a check; whatever it raises is its last finding."""
    try:
        module, _, function = check.function.partition(":")
        yield from getattr(importlib.import_module(module), function)(config)
    except Exception as error:
        yield failure(check.name, error)


def _write(answers: TextIO, content: dict[str, Any]) -> None:
    print(json.dumps(content), file=answers, flush=True)


def _end_with_parent() -> None:
    """Ends this process when the one that started it has ended, however it did."""
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
