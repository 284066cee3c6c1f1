"""Signals that ask a run to stop: the first is noted and acted upon after the step, the second ends it."""

import os
import signal
from pathlib import Path
from types import FrameType
from typing import Any, Self

from experiments.program.errors import how_to_resume
from experiments.program.start import ENDING_SIGNALS

__all__ = ["StopSignals"]


class StopSignals:
    """Notes Ctrl-C, SIGTERM and SIGHUP; a second one ends the process at once, with one line.

    While this context is open no signal raises an exception, which could come in the middle of a write.

    Attributes:
        number: The signal that was received; 0 before there is one.
    """

    def __init__(self, workdir: Path) -> None:
        """``workdir`` is the run folder, which the line names."""
        self.number = 0
        self._workdir = workdir
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, *ENDING_SIGNALS):
            if signal.getsignal(number) is not signal.SIG_IGN or number == signal.SIGINT:
                self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.number and number == getattr(signal, "SIGHUP", None):
            return  # a closed terminal sends it twice: once itself, once by its shell
        if self.number:  # the second time the user will not wait for a checkpoint
            line = (
                f"error: ended at once by a second signal, {signal.Signals(number).name}; "
                f"{how_to_resume(self._workdir)} continues from the last checkpoint\n"
            )
            # Neither print nor sys.exit: the one may be at work already, the other would wait for threads.
            os.write(2, line.encode(errors="surrogateescape"))
            os._exit(128 + number)
        self.number = number
