"""Lets one process at a time prepare a data set."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from jax_resnet.data.reporter import Reporter
from jax_resnet.errors import DataError

UNFINISHED = ".unfinished-"
"""How the names of temporary files and folders begin, so that the next process can clear them up."""


@contextlib.contextmanager
def preparing(folder: Path, what: str, reporter: Reporter) -> Iterator[None]:
    """Holds the lock of a data set's folder, which is made where needed.

    The operating system lets go of the lock when its holder ends, however it ends.

    Raises:
        DataError: if the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = os.open(folder / ".preparing.lock", os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise DataError(
            f"{what} cannot be prepared in {folder}: {error.strerror}; name a writable --data-dir"
        ) from error
    try:
        _lock(file, what, reporter)
        for leftover in folder.glob(f"{UNFINISHED}*"):
            # Whoever was preparing here is dead, or the lock would not be ours.
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)
        yield
    finally:
        os.close(file)


def _lock(file: int, what: str, reporter: Reporter) -> None:
    try:
        import fcntl
    except ImportError:  # elsewhere than on POSIX, the final rename alone decides who was first
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        reporter.line(f"another process is preparing {what}: waiting for it")
        fcntl.flock(file, fcntl.LOCK_EX)
