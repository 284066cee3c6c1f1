"""A process of its own for each subject, so that none shares memory or threads with another.

It reads commands from standard input and answers on standard output, a JSON object a line each.
"""

import argparse
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

# Nothing that imports jax: the settings of malloc come first.


def main() -> None:
    """Serves until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print must not mix with the answers
    steps: list[Callable[[], None]] = []
    for line in sys.stdin:
        try:
            answer = obey(json.loads(line), steps)
        except Exception as error:  # told to the one who asked, in a line
            answer = {"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
        print(json.dumps(answer), file=answers, flush=True)


def obey(command: dict[str, Any], steps: list[Callable[[], None]]) -> dict[str, Any]:
    """Prepares a subject, or runs steps of one that is prepared."""
    from experiments.program.malloc import peak_memory_bytes

    if "prepare" in command:
        from experiments.bench.case import Layer, Subject

        fields = command["prepare"]
        layer = fields.pop("layer")
        subject = Subject(**fields, layer=None if layer is None else Layer(**layer))
        module = "torch_steps" if subject.framework == "torch" else "jax_steps"
        # Imported late: a process knows one framework only.
        prepare = importlib.import_module(f"experiments.bench.{module}").prepare
        start = time.perf_counter()
        step, parameters = prepare(subject)
        step()
        seconds = time.perf_counter() - start
        step()
        steps.append(step)
        return {"index": len(steps) - 1, "start_seconds": seconds, "parameters": parameters}
    step, seconds_of = steps[command["index"]], []
    for _ in range(command["steps"]):
        start = time.perf_counter()
        step()
        seconds_of.append(time.perf_counter() - start)
    return {"seconds": seconds_of, "peak_bytes": peak_memory_bytes()}


if __name__ == "__main__":
    from experiments.program.malloc import keep_freed_memory

    parser = argparse.ArgumentParser()
    parser.add_argument("--keep-freed-memory", action="store_true")
    parser.add_argument("--cores", type=int, nargs="*", default=[])
    flags = parser.parse_args()
    if flags.keep_freed_memory:
        keep_freed_memory()
    if flags.cores:
        os.sched_setaffinity(0, flags.cores)
    main()
