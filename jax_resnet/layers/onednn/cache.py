"""The folder of compiled extensions. Each file's name holds a checksum of its content.

A program that loads a damaged library dies of SIGBUS or SIGSEGV, so a file is checked before it is used.
With the checksum in the name, both appear in one step, even if several processes write at once.
"""

import contextlib
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from jax_resnet._files import expand_user, replacing

__all__ = ["CACHE_VARIABLE", "cache_folder", "damaged", "find", "keep", "work_folder"]

CACHE_VARIABLE = "JAX_RESNET_CACHE"
_WORK_PREFIX, _WORK_SECONDS = "build-", 3600
_log = logging.getLogger("jax_resnet")


def cache_folder() -> Path:
    """Returns the folder of compiled extensions: in ``$JAX_RESNET_CACHE`` or the user's cache.

    Raises:
        FileNotFoundError: The user's home folder is not known.
    """
    if folder := os.environ.get(CACHE_VARIABLE):
        return expand_user(folder) / "onednn"
    base = os.environ.get("XDG_CACHE_HOME") or expand_user("~/.cache")
    return Path(base) / "jax-resnet" / "onednn"


def find(folder: Path, key: str) -> Path | None:
    """Returns the intact extension that is kept under ``key``, or None.

    Removes damaged ones and those without a checksum, and logs a line for each.
    """
    for path in sorted(folder.glob(f"{key}*.so")):
        with contextlib.suppress(OSError):
            if path.name == _name(key, path):
                return path
        _log.warning("the compiled extension %s is damaged; compiling it again", path)
        with contextlib.suppress(OSError):
            path.unlink()
    return None


def damaged(folder: Path) -> list[Path]:
    """The kept extensions, under any key, that cannot be read or differ from the checksum in their names."""
    found = []
    for path in sorted(folder.glob("*.so")):
        try:
            intact = path.name == _name(path.name.rpartition("-")[0], path)
        except OSError:
            intact = False
        if not intact:
            found.append(path)
    return found


def keep(fresh: Path, folder: Path, key: str) -> Path:
    """Moves a new extension to its place under ``key``, once it is on the disk, and returns its path.

    Raises:
        OSError: The folder cannot be written or is full.
    """
    path = folder / _name(key, fresh)
    with replacing(path) as draft:
        os.replace(fresh, draft)
    return path


@contextlib.contextmanager
def work_folder(folder: Path) -> Iterator[Path]:
    """Yields a temporary folder on the cache's file system; removes those that killed builds left there.

    Raises:
        OSError: The folder cannot be written or is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{_WORK_PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - old.stat().st_mtime > _WORK_SECONDS:
                shutil.rmtree(old)
    with TemporaryDirectory(prefix=_WORK_PREFIX, dir=folder) as work:
        yield Path(work)


def _name(key: str, path: Path) -> str:
    return f"{key}-{hashlib.sha256(path.read_bytes()).hexdigest()[:32]}.so"
