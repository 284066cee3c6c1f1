"""Reads files of runs whatever is in them: bounded in size, only regular files, JSON of any depth."""

import json
import os
import stat
from pathlib import Path
from typing import Any

__all__ = ["UnreadableError", "open_regular", "parse_json", "read_bytes", "read_json"]

MIB = 2**20


class UnreadableError(ValueError):
    """A file that cannot be read; the message says why, without the file's name."""


def open_regular(path: Path, limit: int | None = None) -> Any:
    """Opens a regular file for reading bytes.

    Args:
        path: The file, or a symbolic link to it.
        limit: The largest size in bytes.

    Raises:
        UnreadableError: The path is missing, a pipe, a device or a folder, may not be read, or is too large.
    """
    try:
        # Opening a pipe without a writer would wait for one.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except OSError as error:
        raise UnreadableError((error.strerror or "cannot be opened").lower()) from None
    except ValueError:
        raise UnreadableError("its name holds a NUL character") from None
    status = os.fstat(descriptor)
    problem = None
    if not stat.S_ISREG(status.st_mode):
        problem = "not a regular file"
    elif limit is not None and status.st_size > limit:
        problem = f"{status.st_size / MIB:,.0f} MiB, more than the {limit / MIB:,.0f} MiB that are read"
    if problem:
        os.close(descriptor)
        raise UnreadableError(problem)
    return os.fdopen(descriptor, "rb")


def read_bytes(path: Path, limit: int | None = None) -> bytes:
    """The content of a regular file.

    Raises:
        UnreadableError: See ``open_regular``.
    """
    try:
        with open_regular(path, limit) as file:
            content: bytes = file.read() if limit is None else file.read(limit + 1)
    except OSError as error:
        raise UnreadableError((error.strerror or "cannot be read").lower()) from None
    if limit is not None and len(content) > limit:  # it has grown, or is none of a fixed size
        raise UnreadableError(f"more than the {limit / MIB:,.0f} MiB that are read")
    return content


def parse_json(text: bytes) -> Any:
    """JSON in UTF-8; NaN and infinities become floats, which the caller must check.

    Raises:
        UnreadableError: It is not JSON, not UTF-8 or nested too deeply.
    """
    try:
        return json.loads(text.decode("utf-8"))
    except UnicodeDecodeError:
        raise UnreadableError("not UTF-8") from None
    except RecursionError:
        raise UnreadableError("nested too deeply") from None
    except ValueError:
        raise UnreadableError("not JSON") from None


def read_json(path: Path, limit: int = 16 * MIB) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        UnreadableError: The file cannot be read, see ``open_regular``, or does not hold a JSON object.
    """
    content = parse_json(read_bytes(path, limit))
    if not isinstance(content, dict):
        raise UnreadableError("not a JSON object")
    return content
