"""Checksums of a checkpoint's files, so that damage is named before anything is read."""

import contextlib
import json
import os
import re
import zlib
from pathlib import Path

from jax_resnet import _files
from jax_resnet._text import first_line

__all__ = ["NAME", "add", "damage", "exists", "find_damage", "write"]

NAME = "manifest.json"

_CHUNK = 1 << 20
# What macOS, Windows, NFS and FUSE put into folders by themselves.
_OF_THE_SYSTEM = re.compile(r"\.DS_Store|\._.*|Thumbs\.db|desktop\.ini|\.nfs.*|\.fuse_hidden.*")


def exists(folder: Path) -> bool:
    """Whether a checkpoint has a manifest, be it a damaged one."""
    return os.path.lexists(folder / NAME)


def write(folder: Path) -> None:
    """Lists size and CRC-32 of every file under ``folder`` in ``folder/manifest.json``.

    Every listed file is on the disk before the manifest is.
    """
    _write(folder, {name: _describe(folder / name, sync=True) for name in _names(folder)})


def add(folder: Path, name: str) -> None:
    """Adds one file, or what it now holds, to a manifest."""
    listing = json.loads((folder / NAME).read_text())
    _write(folder, {**listing, name: _describe(folder / name, sync=True)})


def damage(folder: Path, under: str = "") -> str:
    """What ``find_damage`` finds, or why a file cannot be read, in words."""
    try:
        return find_damage(folder, under)
    except OSError as error:
        return f"{error.filename or folder} cannot be read: {error.strerror or first_line(error)}"


def find_damage(folder: Path, under: str = "") -> str:
    """What differs from the manifest, in words; empty if nothing does or if there is no manifest.

    Args:
        folder: A checkpoint.
        under: Checks only files whose names, relative to ``folder``, begin with this.

    Raises:
        OSError: A file cannot be read, this time at least.
    """
    if not exists(folder):
        return ""
    listing = _read(folder)
    if listing is None:
        return f"{NAME} is damaged"
    for name, (size, checksum) in listing.items():
        if name.startswith(under) and (trouble := _difference(folder, name, size, checksum)):
            return trouble
    # The folders of the items hold nothing but what was written there; a list that lacks some of it
    # was cut short. A manifest that can vouch for nothing vouches for no checkpoint.
    items = [name for name in _names(folder) if "/" in name and name.startswith(under)]
    unlisted = [name for name in items if name not in listing and not name.startswith("metrics/")]
    return f"{NAME} does not list {unlisted[0]}" if unlisted else ""


def _write(folder: Path, listing: dict[str, tuple[int, int]]) -> None:
    _files.write_text(folder / NAME, json.dumps(listing, indent=1))
    with contextlib.suppress(OSError):  # some systems cannot open folders
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _read(folder: Path) -> dict[str, tuple[int, int]] | None:
    """The listing; None if the file holds no valid one."""
    if not (folder / NAME).is_file():
        return None
    try:
        listing = json.loads((folder / NAME).read_bytes())
    except (ValueError, RecursionError):
        return None
    valid = isinstance(listing, dict) and listing and all(map(_is_entry, listing, listing.values()))
    return {name: (size, checksum) for name, (size, checksum) in listing.items()} if valid else None


def _is_entry(name: str, entry: object) -> bool:
    """Whether it is a name that a message can show, and integers, nothing that could become one."""
    numbers = isinstance(entry, list) and [type(number) for number in entry] == [int, int]
    return name.isprintable() and numbers


def _difference(folder: Path, name: str, size: int, checksum: int) -> str:
    file = folder / name
    try:
        found = file.stat().st_size  # is_file hides errors of the disk, on some versions
    except (FileNotFoundError, NotADirectoryError):
        return f"{name} is missing"
    if not file.is_file():
        return f"{name} is missing"
    if found != size:
        return f"{name} has {found} bytes, not {size}"
    if _describe(file)[1] != checksum:
        return f"{name} has other contents than were written"
    return ""


def _names(folder: Path) -> list[str]:
    """Every file under a checkpoint, relative to it, but for those of the operating system."""
    files = (file for file in folder.rglob("*") if file.is_file() and not _OF_THE_SYSTEM.fullmatch(file.name))
    names = sorted(file.relative_to(folder).as_posix() for file in files)
    return [name for name in names if name != NAME and not name.startswith(f".{NAME}")]


def _describe(file: Path, sync: bool = False) -> tuple[int, int]:
    """Size and CRC-32 of a file."""
    size = checksum = 0
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            size += len(chunk)
            checksum = zlib.crc32(chunk, checksum)
        if sync:
            with contextlib.suppress(OSError):  # some systems flush only files that are open for writing
                os.fsync(stream.fileno())
    return size, checksum
