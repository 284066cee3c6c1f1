"""Which files of a folder are images, at any depth, and why the others are left out."""

import os
from collections import Counter
from pathlib import Path

from jax_resnet.data.images import image_endings
from jax_resnet.errors import DataError

__all__ = ["is_hidden", "list_images", "subfolders"]

HIDDEN = "hidden"
NOT_IMAGES = "without an image's ending"
DEAD_LINKS = "links to nothing"
LOOPS = "links to a folder above them"
NOT_FILES = "not files"


def is_hidden(name: str) -> bool:
    """Whether a file or folder is to be left out by its name: ``.name``, or a Mac's ``__MACOSX``."""
    return name.startswith(".") or name == "__MACOSX"


def subfolders(folder: Path) -> tuple[str, ...]:
    """The sorted names of the folders in a folder, hidden ones left out."""
    return tuple(sorted(e.name for e in _entries(folder) if not is_hidden(e.name) and _kind(e) == "folder"))


def list_images(folder: Path, *, below: bool = True) -> tuple[list[str], Counter[str]]:
    """Lists the images of a folder in torchvision's order: by the path of their folder, then by name.

    An image is a file with one of ``image_endings()``, in any case. Links to files and folders are followed.

    Args:
        folder: Where to look.
        below: Whether to look in the folders below it, too.

    Returns:
        Paths relative to ``folder``, with "/" between their parts, and how many entries were skipped for
        which reason.

    Raises:
        DataError: A folder cannot be read.
    """
    endings, skipped = image_endings(), Counter[str]()
    found: list[tuple[str, list[str]]] = []
    todo: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
    while todo:
        place, above = todo.pop()
        here = folder / place
        above |= {_identity(os.stat(here))}
        names = []
        for entry in _entries(here):
            path = f"{place}/{entry.name}" if place else entry.name
            if is_hidden(entry.name):
                skipped[HIDDEN] += 1
                continue
            kind = _kind(entry)
            if kind == "folder":
                if entry.is_symlink() and _identity(entry.stat()) in above:
                    skipped[LOOPS] += 1
                elif below:
                    todo.append((path, above))
            elif os.path.splitext(entry.name)[1].lower() not in endings:
                skipped[NOT_IMAGES] += 1
            elif kind == "file":
                names.append(path)
            else:
                skipped[kind] += 1
        found.append((place, sorted(names)))
    return [name for _, names in sorted(found) for name in names], skipped


def _kind(entry: os.DirEntry[str]) -> str:
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
    except OSError:  # a link to itself, or to where nobody may look
        return DEAD_LINKS
    return DEAD_LINKS if entry.is_symlink() else NOT_FILES


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise DataError(f"{folder} cannot be read ({error.strerror})") from error
