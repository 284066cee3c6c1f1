"""Progress and messages: the library prints nothing, the caller passes a Reporter."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol, TextIO

__all__ = ["SILENT", "PlainReporter", "Reporter"]


class Reporter(Protocol):
    """Receives messages and progress of a long operation."""

    def line(self, text: str) -> None:
        """Receives a message of one line."""

    def progress(self, description: str, total: int | None) -> AbstractContextManager[Callable[[int], None]]:
        """Opens a progress bar.

        Args:
            description: The operation, with the counted unit in parentheses: "reading cifar10 (images)".
            total: The amount at the end; None where it is unknown.

        Returns:
            A context manager that yields ``advance(n)``, which is called with each further amount.
        """


class _Silent:
    def line(self, text: str) -> None:
        pass

    def progress(self, description: str, total: int | None) -> AbstractContextManager[Callable[[int], None]]:
        return contextlib.nullcontext(lambda n: None)


SILENT: Reporter = _Silent()
"""Ignores everything."""


class PlainReporter:
    """Writes whole lines, without control characters: for notebooks, log files and terminals alike.

    A long operation gets a line at its start, every few seconds, and at its end.
    """

    def __init__(self, file: TextIO | None = None, *, every_seconds: float = 5.0) -> None:
        """Writes to ``file``, standard error by default, one line per ``every_seconds`` of progress."""
        self._file = file
        self._every = every_seconds

    def line(self, text: str) -> None:
        """Writes one line."""
        print(text, file=self._file or sys.stderr, flush=True)

    @contextlib.contextmanager
    def progress(self, description: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """Writes the amount done, as a percentage where the total is known."""
        done, written = 0, time.monotonic()
        self.line(f"{description} ...")

        def advance(n: int) -> None:
            nonlocal done, written
            done += n
            if time.monotonic() - written >= self._every:
                written = time.monotonic()
                self.line(f"{description}: {_amount(done, total)}")

        yield advance
        self.line(f"{description}: done, {done:,}")


def _amount(done: int, total: int | None) -> str:
    return f"{100 * done // total}% of {total:,}" if total else f"{done:,}"
