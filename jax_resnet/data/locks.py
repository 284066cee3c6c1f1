"""Lets one process at a time prepare a data set."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from jax_resnet.data.reporter import Reporter
from jax_resnet.errors import DataError

__all__ = ["UNFINISHED", "prepare_lock"]

UNFINISHED = ".unfinished-"
"""Prefix of temporary files and folders, so that the next process can remove them."""


@contextlib.contextmanager
def prepare_lock(folder: Path, name: str, reporter: Reporter) -> Iterator[None]:
    """Holds the lock of a data set's folder, and makes the folder where needed.

    The operating system releases the lock when its holder ends, however it ends. On systems without
    ``fcntl`` (Windows) and file systems without locks nothing is locked: the rename that ends the preparation
    decides who was first.

    Args:
        folder: The data set's folder.
        name: The data set's name, for messages.
        reporter: Receives a line while another process holds the lock.

    Raises:
        DataError: The folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = os.open(folder / ".preparing.lock", os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise DataError(
            f"{name} cannot be prepared in {folder}: {error.strerror}; name a writable --data-dir"
        ) from error
    try:
        if _lock(file, name, reporter):
            _remove_leftovers(folder)
        yield
    finally:
        os.close(file)


def _lock(file: int, name: str, reporter: Reporter) -> bool:
    try:
        import fcntl
    except ImportError:
        return False
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            reporter.line(f"another process is preparing {name}: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:  # no locks here
        return False
    return True


def _remove_leftovers(folder: Path) -> None:
    """Removes what a killed process left: it cannot be at work, because the lock is ours."""
    for leftover in folder.glob(f"{UNFINISHED}*"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)
