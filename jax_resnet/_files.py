"""Files that are written whole or not at all."""

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

from jax_resnet._text import first_line

__all__ = [
    "REASONS",
    "expand_user",
    "local_path",
    "refuse_url",
    "replacing",
    "why_not_written",
    "write_bytes",
    "write_text",
]

# A scheme has two letters or more, a drive of Windows one; Path makes one slash of two.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")

# Why a file cannot be written, and what to do, by the number of the system's error.
REASONS = {
    errno.ENOSPC: "the disk is full: free some space and continue",
    errno.EDQUOT: "the disk quota is used up: free some space and continue",
    errno.EFBIG: "a file would be larger than allowed: raise the limit (ulimit -f) and continue",
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.EACCES: "permission denied: choose a folder that you can write to",
    errno.EPERM: "not permitted: choose a folder that you can write to",
    errno.ENOTDIR: "a part of the path is a file, not a folder: choose another folder",
}


def expand_user(path: str | os.PathLike[str]) -> Path:
    """The path with the home folder for ``~`` or ``~user``.

    Raises:
        FileNotFoundError: There is no such user, or the user of this process has no home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise FileNotFoundError(errno.ENOENT, "the home folder is not known", os.fspath(path)) from None


def local_path(path: str | os.PathLike[str], error: type[Exception]) -> Path:
    """The absolute path on this machine, with the home folder for ``~``.

    Raises:
        error: It is a URL, or in a home folder that is not known.
    """
    try:
        refuse_url(path)
        return expand_user(path).absolute()
    except FileNotFoundError as unknown:
        raise error(f"{os.fspath(path)}: {unknown.strerror}") from None
    except ValueError as url:
        raise error(str(url)) from None


def refuse_url(path: str | os.PathLike[str]) -> None:
    """Checks that a path is none of another machine.

    Raises:
        ValueError: It is a URL, which would become a folder of that name here.
    """
    if _URL.match(os.fspath(path)):
        raise ValueError(f"{os.fspath(path)} is a URL: name a folder of this machine, or one mounted there")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a draft beside ``path`` that takes its place at the end; after an error the draft is removed.

    The draft is on the disk before it gets its name: a crash leaves the old file or the new one.

    Raises:
        OSError: The folder cannot be written or is full; its ``filename`` is ``path``.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield draft
        with draft.open("r+b") as file:  # Windows syncs only what may be written
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        error.filename = str(path)
        error.filename2 = None
        raise
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file (UTF-8) whole or not at all."""
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all."""
    with replacing(path) as draft:
        draft.write_bytes(content)


def why_not_written(error: BaseException) -> str:
    """Why a file could not be written, and what to do, in a few words; libraries wrap the system's error."""
    chain: BaseException | None = error
    seen: list[BaseException] = []
    while chain is not None and chain not in seen:
        seen.append(chain)
        if isinstance(chain, OSError) and chain.errno in REASONS:
            return REASONS[chain.errno]
        for number, reason in REASONS.items():
            # tensorstore raises ValueError and RuntimeError with the system's words.
            if os.strerror(number) in str(chain) or f": {errno.errorcode[number]} " in str(chain):
                return reason
        chain = chain.__cause__ or chain.__context__
    return f"{type(error).__name__}: {first_line(error)}"
