"""A process that times cases: the side that sends it requests. ``worker`` is the other side."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Self

from experiments.bench.case import Case
from experiments.program.errors import ExperimentError
from jax_resnet._malloc import ENVIRONMENT_VARIABLE

__all__ = ["Worker", "process_setup"]


class Worker(contextlib.AbstractContextManager["Worker"]):
    """A process that prepares and times cases, ended when the context is left."""

    def __init__(self, case: Case, cores: Sequence[int] = ()) -> None:
        """Starts a process for cases like ``case``, on the processors ``cores`` only where they are given."""
        flags, environment = process_setup(case)
        flags += ["--cores", *map(str, cores)] if cores else []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "experiments.bench.worker", *flags],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def request(self, command: dict[str, Any]) -> dict[str, Any]:
        """Sends a command and returns the answer.

        Raises:
            ExperimentError: The command failed; the message says why.
        """
        self.send(command)
        return self.receive()

    def send(self, command: dict[str, Any]) -> None:
        """Sends a command without waiting for the answer."""
        assert self._process.stdin is not None
        # If the process has ended, receive() reports it.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """Waits for the answer to the oldest command that has none.

        Raises:
            ExperimentError: The command failed; the message says why.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ExperimentError(f"a timed process ended with status {self._process.wait()}: out of memory?")
        answer = json.loads(line)
        if "error" in answer:
            raise ExperimentError(answer["error"])
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.communicate()


def process_setup(case: Case) -> tuple[list[str], dict[str, str]]:
    """Returns the flags and the environment of a worker for a case.

    The experiments' programs set malloc before they import jax. A library user's program imports jax first
    and has none of our environment variables; what importing our layers sets, it has. The other frameworks
    run as their users find them: a process of theirs that imports something of ours leaves malloc alone.

    On a GPU the processes of a comparison share its memory, of which jax by default takes three quarters.
    """
    environment = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", **os.environ}
    if case.framework != "jax_resnet":
        return [], {**environment, ENVIRONMENT_VARIABLE: "0"}
    if case.program == "experiments":
        return ["--keep-freed-memory"], environment
    return ["--import-jax-first"], {k: v for k, v in environment.items() if not k.startswith("JAX_RESNET_")}
