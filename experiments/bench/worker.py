"""Times cases in a process of its own, so that none of them shares memory or threads with another.

It reads commands from standard input and writes answers to standard output, one JSON object per line.
"""

import argparse
import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

# Nothing here may import jax: the settings of malloc must come first.

__all__ = ["handle", "main"]


def main() -> None:
    """Answers commands until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # What libraries print must not mix with the answers.
    steps: list[Callable[[], None]] = []
    for line in sys.stdin:
        try:
            answer = handle(json.loads(line), steps)
        except Exception as error:  # The process that sent the command reports it.
            answer = {"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
        print(json.dumps(answer), file=answers, flush=True)


def handle(command: dict[str, Any], steps: list[Callable[[], None]]) -> dict[str, Any]:
    """Answers one command: ``{"prepare": case}`` or ``{"index": i, "steps": n}``."""
    if "prepare" in command:
        return _prepare(command["prepare"], steps)
    from experiments.program.memory import peak_memory_bytes

    seconds = []
    for _ in range(command["steps"]):
        start = time.perf_counter()
        steps[command["index"]]()
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds, "peak_bytes": peak_memory_bytes()}


def _prepare(fields: dict[str, Any], steps: list[Callable[[], None]]) -> dict[str, Any]:
    """Makes the step of a case, runs it twice, and appends it to ``steps``."""
    from experiments.bench.case import Case

    case = Case.from_json(fields)
    # Imported here: a process imports one framework only.
    module = "torch_steps" if case.framework == "torch" else "jax_steps"
    prepare = importlib.import_module(f"experiments.bench.{module}").prepare
    start = time.perf_counter()
    step, parameters = prepare(case)
    step()
    seconds = time.perf_counter() - start
    step()
    steps.append(step)
    return {"index": len(steps) - 1, "start_seconds": seconds, "parameters": parameters}


def _set_up_process() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--keep-freed-memory", action="store_true")
    parser.add_argument("--import-jax-first", action="store_true")
    parser.add_argument("--cores", type=int, nargs="*", default=[])
    flags = parser.parse_args()
    if flags.keep_freed_memory:
        from jax_resnet._malloc import keep_freed_memory

        keep_freed_memory()
    if flags.import_jax_first:
        import jax  # noqa: F401 - as a user's program does, before anything of ours is imported
    if flags.cores:
        os.sched_setaffinity(0, flags.cores)


if __name__ == "__main__":
    _set_up_process()
    main()
