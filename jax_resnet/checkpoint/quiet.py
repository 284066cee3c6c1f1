"""Errors of orbax are raised once, and not printed a second time."""

import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any

__all__ = ["quiet_orbax"]

ORBAX = f"orbax{os.sep}checkpoint"


def quiet_orbax() -> None:
    """Keeps orbax from printing tracebacks of errors that it raises as well.

    It logs each of them, and when one array of a save or restore fails, nothing waits for the others any
    more.
    """
    warnings.filterwarnings("ignore", r"coroutine '\w+Handler\.\w+' was never awaited", RuntimeWarning)
    logging.getLogger("absl").addFilter(_is_news)  # the same filter is added once
    logging.getLogger("asyncio").addFilter(_is_news)
    if not isinstance(sys.unraisablehook, _WithoutLateArrays):
        sys.unraisablehook = _WithoutLateArrays(sys.unraisablehook)


class _WithoutLateArrays:
    """``sys.unraisablehook`` without arrays of a failed save or restore that end after their event loop."""

    def __init__(self, otherwise: Callable[[Any], object]) -> None:
        self._otherwise = otherwise

    def __call__(self, dropped: Any) -> None:
        if not _is_late(dropped):
            self._otherwise(dropped)


def _is_late(dropped: Any) -> bool:
    error = dropped.exc_value
    if isinstance(error, RuntimeError) and str(error) == "Event loop is closed":
        return True
    # Python closes an abandoned coroutine, which orbax reports as an error in reading, and warns about one
    # that was never awaited.
    code = getattr(dropped.object, "cr_code", None)
    if code is None or ORBAX not in code.co_filename:
        return False
    return isinstance(error, RuntimeWarning) or isinstance(error.__cause__, GeneratorExit)


def _is_news(record: logging.LogRecord) -> bool:
    if record.levelno < logging.ERROR:
        return True
    error = record.exc_info[1] if record.exc_info else None
    frames = [] if error is None else traceback.extract_tb(error.__traceback__)
    files = [record.pathname, *(frame.filename for frame in frames)]
    return not any(ORBAX in file for file in files)
