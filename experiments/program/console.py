"""What a person sees while a program runs: progress bars on a terminal, plain lines elsewhere."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console as RichConsole
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from jax_resnet._cli import CLOSED_PIPE

__all__ = ["PLAIN_EVERY", "ROOM_FOR_BAR", "Console", "format_duration"]

# Seconds between lines of progress where there is no terminal.
PLAIN_EVERY = 10.0
# Columns below which a bar is left out, so that steps, remaining time and status fit.
ROOM_FOR_BAR = 100


class _Rich(RichConsole):
    """A console that says when its pipe is closed, as by the end of ``tee``, which Ctrl-C ends too."""

    closed = False
    ends_program = True

    def on_broken_pipe(self) -> None:
        self.closed = self.quiet = True
        # Python flushes standard output once more at exit, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if self.ends_program:
            raise SystemExit(CLOSED_PIPE)


class Console:
    """Prints to standard output; also a ``jax_resnet.data.Reporter``."""

    def __init__(self, *, quiet: bool = False) -> None:
        """``quiet`` prints nothing: of several processes one prints."""
        self._rich = _Rich(highlight=False, quiet=quiet)

    @property
    def closed(self) -> bool:
        """Whether nobody reads the output any more, where that does not end the program."""
        return self._rich.closed and not self._rich.ends_program

    @contextlib.contextmanager
    def outliving_its_reader(self) -> Iterator[None]:
        """A context in which a closed pipe does not end the program, which has something to save first."""
        self._rich.ends_program = False
        try:
            yield
        finally:
            self._rich.ends_program = True

    def line(self, text: str) -> None:
        """Prints a line, above any bar; a terminal wraps it at words, a file has it whole."""
        self._rich.print(text, markup=False, emoji=False, soft_wrap=not self._rich.is_terminal)

    @contextlib.contextmanager
    def progress(self, description: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """A bar on a terminal, nothing elsewhere; yields ``advance(n)``."""
        if not self._rich.is_terminal:
            yield lambda n: None
            return
        with self._bar() as bar:
            task = bar.add_task(description, total=total, status="")
            yield lambda n: bar.advance(task, n)

    @contextlib.contextmanager
    def training(self, start: int, total: int) -> Iterator[Callable[[int, str], None]]:
        """A bar over steps, or a line now and then; yields ``update(step, status)``."""
        if not self._rich.is_terminal:
            printed = time.monotonic()

            def update(step: int, status: str) -> None:
                nonlocal printed
                if time.monotonic() - printed >= PLAIN_EVERY:
                    printed = time.monotonic()
                    self.line(f"step {step}/{total}  {status}")

            yield update
            return
        with self._bar() as bar:
            task = bar.add_task("training", total=total, completed=start, status="")
            yield lambda step, status: bar.update(task, completed=step, status=status)

    def _bar(self) -> Progress:
        columns: list[ProgressColumn] = [
            TextColumn("{task.description}", table_column=Column(no_wrap=True)),
            BarColumn(bar_width=24),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TimeRemainingColumn(table_column=Column(no_wrap=True)),
            # The last to be drawn whole: what does not fit of it is cut.
            TextColumn(
                "{task.fields[status]}", table_column=Column(ratio=1, overflow="ellipsis", no_wrap=True)
            ),
        ]
        if self._rich.width < ROOM_FOR_BAR:
            del columns[1]
        return Progress(*columns, console=self._rich, transient=True, expand=True)


def format_duration(seconds: float) -> str:
    """A duration as people write it: 42 s, 5 min 20 s, 3 h 10 min, 2 d 4 h."""
    seconds = round(seconds)
    for unit, name, smaller, smaller_name in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if seconds >= unit:
            rest = seconds % unit // smaller
            return f"{seconds // unit} {name}" + (f" {rest} {smaller_name}" if rest else "")
    return f"{seconds} s"
