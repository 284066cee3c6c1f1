"""How the library says what it is doing, without printing: the caller passes a Reporter."""

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol


class Reporter(Protocol):
    """Receives the news of a long operation."""

    def line(self, text: str) -> None:
        """Takes one line that a person should see."""

    def progress(self, description: str, total: int | None) -> AbstractContextManager[Callable[[int], None]]:
        """Opens a progress bar.

        Args:
            description: What is going on, with the unit counted in brackets.
            total: How much there is to do; None when unknown.

        Returns:
            A context manager that yields ``advance(n)``, called with each amount newly done.
        """


class _Silent:
    def line(self, text: str) -> None:
        pass

    def progress(self, description: str, total: int | None) -> AbstractContextManager[Callable[[int], None]]:
        return contextlib.nullcontext(lambda n: None)


SILENT: Reporter = _Silent()
"""Says nothing."""
