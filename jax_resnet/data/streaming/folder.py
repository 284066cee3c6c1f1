"""A folder of pictures as a data set: ``train/CLASS/*.jpg`` and ``val/CLASS/*.jpg`` (or ``test``)."""

import dataclasses
import os
import zlib
from pathlib import Path

import numpy as np

from jax_resnet.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png")
LAYOUT = "train/CLASS/*.jpg and val/CLASS/*.jpg (or test; also .jpeg, .png)"


@dataclasses.dataclass(frozen=True, eq=False)
class FolderImages:
    """Encoded pictures by number, and their labels.

    Attributes:
        root: The folder they are in.
        names: Their paths below it, as the operating system's bytes, (N,): one array, since a million
            strings would take their time on the way to each worker.
        labels: int32, (N,).
    """

    root: Path
    names: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    @property
    def fingerprint(self) -> str:
        """Changes when a file is added, renamed, or taken away."""
        return f"{len(self)} files {zlib.crc32(self.names.tobytes()):08x}"

    def read(self, index: int) -> tuple[bytes, int]:
        """The file's contents, and the label.

        Raises:
            DataError: naming the file, if it cannot be read.
        """
        try:
            return Path(self.name(index)).read_bytes(), int(self.labels[index])
        except OSError as error:
            raise DataError(f"{self.name(index)} cannot be read ({error.strerror})") from error

    def name(self, index: int) -> str:
        """The file's path."""
        return str(self.root / os.fsdecode(self.names[index]))


def read_folder(root: Path) -> tuple[dict[str, FolderImages], tuple[str, ...]]:
    """Lists the pictures of the splits that are there, in the order of their paths.

    Args:
        root: Holds ``train`` and at least one of ``val`` and ``test``, each with a folder a class. A ``test``
            without class folders, as ImageNet's, tells no labels and is left aside.

    Returns:
        The splits by name ("train", "val", "test"), and the sorted names of train's class folders.

    Raises:
        DataError: naming the folder that is missing, empty or too much.
    """
    if not root.is_dir():
        raise DataError(f"{root} is no folder: pictures are looked for in {LAYOUT} below it")
    if not (root / "train").is_dir():
        raise DataError(f"{root} has no train folder: pictures are looked for in {LAYOUT}")
    classes = _subfolders(root / "train")
    if len(classes) < 2:
        raise DataError(f"{root / 'train'} holds {len(classes)} class folders, there must be two or more")
    splits = {"train": _list(root, "train", classes)}
    for label, name in enumerate(classes):
        if not np.any(splits["train"].labels == label):
            raise DataError(f"{root / 'train' / name} holds no pictures ({', '.join(SUFFIXES)})")
    for part in ("val", "test"):
        present = _subfolders(root / part) if (root / part).is_dir() else ()
        if unknown := sorted(set(present) - set(classes)):
            raise DataError(f"{root / part / unknown[0]} is a class that {root / 'train'} has not")
        if present:
            splits[part] = _list(root, part, classes)
            if not len(splits[part]):
                raise DataError(f"{root / part} holds no pictures ({', '.join(SUFFIXES)})")
    if len(splits) == 1:
        raise DataError(f"{root} has neither val nor test with class folders, to test on: see {LAYOUT}")
    return splits, classes


def _subfolders(folder: Path) -> tuple[str, ...]:
    with os.scandir(folder) as entries:
        return tuple(sorted(e.name for e in entries if e.is_dir() and not e.name.startswith(".")))


def _list(root: Path, part: str, classes: tuple[str, ...]) -> FolderImages:
    names: list[bytes] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        folder = root / part / name
        if not folder.is_dir():
            continue
        with os.scandir(folder) as entries:
            found = sorted(
                entry.name
                for entry in entries
                if entry.name.lower().endswith(SUFFIXES) and not entry.name.startswith(".")
            )
        names += [os.fsencode(f"{part}/{name}/{file}") for file in found]
        labels += [label] * len(found)
    return FolderImages(root, np.array(names, np.bytes_), np.array(labels, np.int32))
