"""What a person sees while a run goes on: bars on a terminal, plain lines elsewhere."""

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

PLAIN_EVERY = 10.0  # Seconds between lines of progress where there is no terminal.


class Console:
    """Prints to standard output; also a ``jax_resnet.data.Reporter``."""

    def __init__(self, *, quiet: bool = False) -> None:
        """``quiet`` prints nothing: another process speaks for all."""
        self._rich = RichConsole(highlight=False, soft_wrap=True, quiet=quiet)

    def line(self, text: str) -> None:
        """Prints a line, above any bar."""
        self._rich.print(text, markup=False)

    @contextlib.contextmanager
    def progress(self, description: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """A bar, or without a terminal the description alone; yields ``advance(n)``."""
        if not self._rich.is_terminal:
            self.line(description)
            yield lambda n: None
            return
        with self._bar() as bar:
            task = bar.add_task(description, total=total, news="")
            yield lambda n: bar.advance(task, n)

    @contextlib.contextmanager
    def training(self, start: int, total: int) -> Iterator[Callable[[int, str], None]]:
        """A bar over steps, or a line now and then; yields ``update(step, news)``."""
        if not self._rich.is_terminal:
            said = time.monotonic()

            def update(step: int, news: str) -> None:
                nonlocal said
                if time.monotonic() - said >= PLAIN_EVERY:
                    said = time.monotonic()
                    self.line(f"step {step}/{total}  {news}")

            yield update
            return
        with self._bar() as bar:
            task = bar.add_task("training", total=total, completed=start, news="")
            yield lambda step, news: bar.update(task, completed=step, news=news)

    def _bar(self) -> Progress:
        return Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[news]}"),
            console=self._rich,
            transient=True,
        )


def spell(seconds: float) -> str:
    """A duration as people say it: 42 s, 5 min 20 s, 3 h 10 min, 2 d 4 h."""
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
