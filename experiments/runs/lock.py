"""A lock on a folder, held by one process at a time and freed by the system when that process ends."""

import contextlib
import os
from pathlib import Path
from typing import ClassVar

from experiments.program.errors import ExperimentError

__all__ = ["FolderLock", "is_locked"]

try:
    import fcntl

    CAN_LOCK = True
except ImportError:  # Windows: there two runs in one folder are not noticed
    CAN_LOCK = False


class FolderLock:
    """Locks ``folder`` until ``release``, or until the process ends however it does."""

    NAME: ClassVar[str] = ".lock"

    def __init__(self, folder: Path) -> None:
        """Locks the folder.

        Raises:
            ExperimentError: Another process holds it.
            OSError: The folder cannot be written.
        """
        self._path = folder / self.NAME
        self._file = self._locked_file(folder)

    def _locked_file(self, folder: Path) -> int:
        while True:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
            if not CAN_LOCK:
                return file
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
                raise ExperimentError(
                    f"another process is running in {folder}; name another --workdir"
                ) from None
            except OSError:  # a file system without locks: as on Windows
                return file
            # The last holder may have removed the file between open and flock: nobody else sees it then.
            with contextlib.suppress(FileNotFoundError):
                if os.stat(self._path).st_ino == os.fstat(file).st_ino:
                    return file
            os.close(file)

    def release(self) -> None:
        """Removes the lock file and lets other processes in."""
        with contextlib.suppress(OSError):
            self._path.unlink()
        os.close(self._file)


def is_locked(folder: Path) -> bool:
    """Whether a process holds a folder; leaves the folder as it is. False where locks are not noticed.

    Raises:
        OSError: The lock file is there and cannot be opened.
    """
    try:
        # Opening a pipe without a writer would wait for one.
        file = os.open(folder / FolderLock.NAME, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        return False
    try:
        if CAN_LOCK:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(file)
    return False
