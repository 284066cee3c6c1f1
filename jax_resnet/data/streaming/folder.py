"""A folder of images as a data set: ``train/CLASS/*.jpg`` and ``val/CLASS/*.jpg`` (or ``test``).

Tiny ImageNet's layout is read as well: ``train/CLASS/images/*.JPEG``, and ``val/images`` with the classes in
``val/val_annotations.txt``.
"""

import dataclasses
import os
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np

from jax_resnet._text import did_you_mean
from jax_resnet.data.images import ImageError
from jax_resnet.data.streaming.listing import list_images, subfolders
from jax_resnet.data.streaming.scan import report_unreadable
from jax_resnet.errors import DataError

__all__ = ["FolderImages", "read_folder"]

LAYOUT = "train/CLASS/*.jpg and val/CLASS/*.jpg (or test; any image that Pillow reads)"
PARTS = ("train", "val", "test")
NO_ANNOTATION = "not in the annotations"
OUTSIDE = "outside the class folders"
NAMED = 5


@dataclasses.dataclass(frozen=True, eq=False)
class FolderImages:
    """Encoded images by number, and their labels.

    Attributes:
        root: The folder they are in.
        names: Their paths below it, as the operating system's bytes, (N,): one array, since a million
            strings would take their time on the way to each worker.
        labels: int32, (N,).
        skipped: How many files and folders were left out, by reason.
    """

    root: Path
    names: np.ndarray
    labels: np.ndarray
    skipped: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def fingerprint(self) -> str:
        """Changes when a file is added, renamed, or taken away."""
        return f"{len(self)} files {zlib.crc32(self.names.tobytes()):08x}"

    def read(self, index: int) -> tuple[bytes, int]:
        """The file's contents, and the label.

        Raises:
            ImageError: The file cannot be read.
        """
        try:
            return Path(self.name(index)).read_bytes(), int(self.labels[index])
        except OSError as error:
            raise ImageError(self.name(index), error.strerror or str(error)) from error

    def name(self, index: int) -> str:
        """The file's path."""
        return str(self.root / os.fsdecode(self.names[index]))

    def without(self, index: Collection[int]) -> Self:
        """The images but for those with these numbers."""
        kept = np.setdiff1d(np.arange(len(self)), np.fromiter(index, np.int64, len(index)))
        return dataclasses.replace(self, names=self.names[kept], labels=self.labels[kept])


def read_folder(
    root: Path,
    *,
    parts: Sequence[str] = PARTS,
    skip_unreadable: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> tuple[dict[str, FolderImages], tuple[str, ...]]:
    """Lists the images of the splits that are there; within a class in the order of their paths.

    Class folders may have folders in them. Hidden files and folders are left out, links are followed.

    Args:
        root: Holds ``train`` and at least one of ``val`` and ``test``, each with a folder per class, or with
            ``images`` and, for example, ``val_annotations.txt``: lines of file name, tab, class. A ``test``
            without classes, as ImageNet's, is left aside.
        parts: The splits to read: all of them, or without "train", which then need not be there.
        skip_unreadable: Whether to decode every image first (see ``find_unreadable``) and to leave out those
            that cannot be.
        report: Called with one line each about the files that are skipped, about classes of which a split has
            no images, and before a split is decoded.

    Returns:
        The splits by name ("train", "val", "test"), and the names of the classes: train's class folders,
        sorted as torchvision does (``"10" < "2"``). Without a train folder: the other splits' classes.

    Raises:
        DataError: naming the folder that is missing, empty or too much.
    """
    if not root.is_dir():
        raise DataError(f"{root} is no folder: images are looked for in {LAYOUT} below it")
    present = {part: _Part(root, part) for part in PARTS if (root / part).is_dir()}
    if "train" in parts and "train" not in present:
        raise DataError(f"{root} has no train folder: images are looked for in {LAYOUT}")
    classes = _classes(root, present)
    splits: dict[str, FolderImages] = {}
    for name, part in present.items():
        if name in parts and (name == "train" or part.has_classes(classes)):
            splits[name] = part.read(classes, skip_unreadable, report)
    if not set(splits) - {"train"} and set(parts) - {"train"}:
        wanted = [part for part in parts if part != "train"]
        none = f"no {wanted[0]}" if len(wanted) == 1 else "neither val nor test"
        raise DataError(f"{root} has {none} with class folders, to test on: see {LAYOUT}")
    _report(root, splits, classes, report)
    return splits, classes


def _classes(root: Path, present: Mapping[str, "_Part"]) -> tuple[str, ...]:
    if "train" not in present:
        labeled = [part for part in present.values() if part.annotated or part.subfolders != ("images",)]
        return tuple(sorted({name for part in labeled for name in part.class_names()}))
    classes = present["train"].class_names()
    if len(classes) < 2:
        held = f" ({classes[0]})" if classes else ""
        raise DataError(
            f"{root / 'train'} holds {len(classes)} class folders{held}, there must be two or more"
        )
    return classes


class _Part:
    """One split's folder, in one of two layouts: a folder per class, or annotations."""

    def __init__(self, root: Path, name: str) -> None:
        self.root, self.name, self.folder = root, name, root / name
        self.annotations = self.folder / f"{name}_annotations.txt"
        self.annotated = self.annotations.is_file()
        self.subfolders = subfolders(self.folder)

    def class_names(self) -> tuple[str, ...]:
        if self.annotated:
            return tuple(sorted(set(self._annotated_classes().values())))
        return self.subfolders

    def has_classes(self, classes: Collection[str]) -> bool:
        """Whether there are labels: a test split without them is left aside."""
        if self.annotated:
            return True
        if self.subfolders == ("images",) and "images" not in classes:
            if self.name == "test":
                return False
            raise DataError(
                f"{self.folder / 'images'} does not say its images' classes: {self.annotations.name} is "
                f"needed beside it (lines of file name, tab, class), or a folder per class"
            )
        return bool(self.subfolders)

    def read(
        self, classes: Sequence[str], skip_unreadable: bool, report: Callable[[str], None]
    ) -> FolderImages:
        images = self._read_annotated(classes) if self.annotated else self._read_folders(classes)
        if skip_unreadable:
            images = images.without(report_unreadable(images, self.name, report))
        if not len(images):
            raise DataError(f"{self.folder} holds no images{_why(images.skipped)}")
        if self.name == "train":
            missing = np.flatnonzero(np.bincount(images.labels, minlength=len(classes)) == 0)
            if len(missing):
                empty = self.folder / classes[missing[0]]
                more = f", nor do {len(missing) - 1} other class folders" if len(missing) > 1 else ""
                raise DataError(f"{empty} holds no images{more}: take it away, or put images there")
        return images

    def _read_folders(self, classes: Sequence[str]) -> FolderImages:
        names: list[bytes] = []
        labels: list[int] = []
        outside, skipped = list_images(self.folder, below=False)
        skipped[OUTSIDE] += len(outside)
        for name in self.subfolders:
            found, reasons = list_images(self.folder / name)
            skipped += reasons
            if found and name not in classes:
                raise self._unknown(f"{self.folder / name} is a class", name, classes)
            names += [os.fsencode(f"{self.name}/{name}/{file}") for file in found]
            labels += [classes.index(name)] * len(found) if found else []
        return FolderImages(self.root, np.array(names, np.bytes_), np.array(labels, np.int32), skipped)

    def _read_annotated(self, classes: Sequence[str]) -> FolderImages:
        holder = "images/" if (self.folder / "images").is_dir() else ""
        found, skipped = list_images(self.folder / holder)
        wanted = self._annotated_classes()
        if lost := sorted(set(wanted) - set(found)):
            raise DataError(f"{self.annotations} names {lost[0]}, which {self.folder / holder} does not hold")
        labels = {name: label for label, name in enumerate(classes)}
        for name in wanted.values():
            if name not in labels:
                raise self._unknown(f"{self.annotations} names the class {name}", name, classes)
        skipped[NO_ANNOTATION] += len(found) - len(wanted)
        files = [file for file in found if file in wanted]
        return FolderImages(
            self.root,
            np.array([os.fsencode(f"{self.name}/{holder}{file}") for file in files], np.bytes_),
            np.array([labels[wanted[file]] for file in files], np.int32),
            skipped,
        )

    def _annotated_classes(self) -> dict[str, str]:
        lines = self.annotations.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        rows = [line.split("\t") for line in lines if line.strip()]
        for number, row in enumerate(rows, 1):
            if len(row) < 2:
                raise DataError(
                    f"{self.annotations}, line {number}: a file name, a tab and a class are needed, such as "
                    f"{self.name}_0.JPEG, n01443537; or sort the images into a folder per class instead"
                )
        return {row[0].strip(): row[1].strip() for row in rows}

    def _unknown(self, what: str, name: str, classes: Sequence[str]) -> DataError:
        hint = did_you_mean(name, classes)
        return DataError(f"{what} that {self.root / 'train'} has not{f': {hint}' if hint else ''}")


def _report(
    root: Path, splits: Mapping[str, FolderImages], classes: Sequence[str], report: Callable[[str], None]
) -> None:
    skipped = sum((Counter(images.skipped) for images in splits.values()), Counter[str]())
    if why := _why(skipped):
        report(f"{root}: {skipped.total()} files and folders were skipped{why}")
    for name, images in splits.items():
        missing = np.flatnonzero(np.bincount(images.labels, minlength=len(classes)) == 0)
        if len(missing):
            some = ", ".join(classes[label] for label in missing[:NAMED])
            more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
            report(f"{root / name} has no images of {len(missing)} of {len(classes)} classes: {some}{more}")


def _why(skipped: Mapping[str, int]) -> str:
    """``" (3 hidden, 2 links to nothing)"``; empty where nothing was skipped."""
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(skipped.items()) if count)
    return f" ({reasons})" if reasons else ""
