"""Runs checks in child processes: the side that starts them. ``child`` is the other side."""

import collections
import contextlib
import dataclasses
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from experiments.doctor.config import DoctorConfig
from experiments.doctor.finding import Check, Finding, problem

__all__ = ["Ended", "run_checks"]

CHILD = ("-m", "experiments.doctor.child")
KEPT_LINES = 200


class Ended(NamedTuple):
    """The end of a check.

    Attributes:
        name: The check.
        seconds: How long it took.
    """

    name: str
    seconds: float


def run_checks(checks: Sequence[Check], config: DoctorConfig) -> Iterator[Finding | Ended]:
    """Runs checks, many in one process; after a crash or a hang the rest run in another."""
    waiting = list(checks)
    while waiting:
        count = 1
        while count < len(waiting) and not (waiting[0].alone or waiting[count].alone):
            count += 1
        ended = 0
        for event in _run_in_child(waiting[:count], config):
            ended += isinstance(event, Ended)
            yield event
        waiting = waiting[max(ended, 1) :]


def _run_in_child(checks: Sequence[Check], config: DoctorConfig) -> Iterator[Finding | Ended]:
    """Runs checks in one process until the last ends or one brings the process down."""
    current, started = checks[0], time.perf_counter()
    try:
        child = _Child(checks, config)
    except OSError as error:
        yield problem(
            current.name, f"no process could be started: {error}", "free some memory, and try again"
        )
        yield Ended(current.name, 0.0)
        return
    with child:
        left = {check.name: check for check in checks}
        while left:
            try:
                answer = child.answer(current.seconds)
            except TimeoutError:
                text = f"no answer within {current.seconds:.0f} s{child.last_words()}"
                advice = "try again with nothing else running; then report this with the whole output"
                yield problem(current.name, text, advice)
            except EOFError:
                text = f"the process that ran this check {child.how_it_ended()}{child.last_words()}"
                yield problem(current.name, text, "report this with the whole output")
            else:
                if "begin" in answer:
                    current, started = left[answer["begin"]], time.perf_counter()
                elif "finding" in answer:
                    yield Finding(**answer["finding"])
                else:
                    del left[current.name]
                    yield Ended(current.name, answer["seconds"])
                continue
            yield Ended(current.name, time.perf_counter() - started)
            return


class _Child(contextlib.AbstractContextManager["_Child"]):
    """A process that runs checks, ended with all that it has started when the context is left."""

    def __init__(self, checks: Sequence[Check], config: DoctorConfig) -> None:
        """Starts it.

        Raises:
            OSError: The system cannot start a process.
        """
        self._process = subprocess.Popen(
            [sys.executable, *CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # so that it can be ended with the processes that it has started
        )
        self._answers: queue.Queue[bytes] = queue.Queue()
        self._errors: collections.deque[str] = collections.deque(maxlen=KEPT_LINES)
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._read, self._listen)]
        for reader in self._readers:
            reader.start()
        job = {
            "checks": [dataclasses.asdict(check) for check in checks],
            "config": dataclasses.asdict(config),
        }
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # if it has ended, answer() says so
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.flush()  # and it stays open: its end is the end of this process

    def answer(self, seconds: float) -> dict[str, Any]:
        """The next answer.

        Raises:
            TimeoutError: There is none within this time.
            EOFError: The process has ended.
        """
        try:
            line = self._answers.get(timeout=seconds)
        except queue.Empty:
            raise TimeoutError from None
        if not line.endswith(b"\n"):
            raise EOFError
        answer: dict[str, Any] = json.loads(line)
        return answer

    def how_it_ended(self) -> str:
        """The process's end in words."""
        try:
            status = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return "closed its output"
        if status >= 0:
            return f"ended with status {status}"
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(-status).name}"
        return f"was ended by signal {-status}"

    def last_words(self) -> str:
        """The last line that it printed as an error, after a colon; empty if there is none."""
        self._readers[1].join(timeout=1)
        lines = [line for line in list(self._errors) if line.strip()]
        fatal = [line for line in lines if line.startswith("F0") or "Error" in line or "rror:" in line]
        return f": {' '.join((fatal or lines)[-1].split())[:300]}" if lines else ""

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            with contextlib.suppress(OSError, ValueError):
                if pipe is not None:
                    pipe.close()

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            assert self._process.stdout is not None
            for line in self._process.stdout:
                self._answers.put(line)
        self._answers.put(b"")

    def _listen(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            assert self._process.stderr is not None
            for line in self._process.stderr:
                self._errors.append(line.decode(errors="replace"))
