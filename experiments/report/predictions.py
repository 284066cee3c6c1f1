"""Reads ``predictions.npz`` of unknown origin: no pickles, bounded sizes, shapes and values checked."""

import zipfile
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from experiments.runs.reading import MIB, UnreadableError, open_regular

__all__ = ["Predictions", "read_predictions"]

# ImageNet's 50,000 validation images of 1,000 classes in float32 take 200 MB.
MAX_BYTES = 512 * MIB
MAX_CLASSES = 2000  # A confusion matrix has the square of that.


class Predictions(NamedTuple):
    """A network's outputs on the test set.

    Attributes:
        labels: int64, ``(images,)``, in ``0..classes-1``.
        logits: float32, ``(images, classes)``, finite, of the checkpoint that was best on validation.
    """

    labels: np.ndarray
    logits: np.ndarray


def read_predictions(path: Path) -> Predictions:
    """Reads and checks the file.

    Raises:
        UnreadableError: It cannot be read, or does not hold labels and logits that fit each other.
    """
    try:
        with open_regular(path, MAX_BYTES) as file, zipfile.ZipFile(file) as archive:
            labels = _read_array(archive, "labels", "iu", 1)
            logits = _read_array(archive, "logits_best", "f", 2)
    except UnreadableError:
        raise
    except Exception as error:  # zipfile and NumPy raise errors of a dozen kinds for damaged files
        raise UnreadableError(f"damaged ({type(error).__name__})") from None
    images, classes = logits.shape
    if not images or not classes or len(labels) != images:
        raise UnreadableError(f"{len(labels):,} labels for logits of shape {logits.shape}")
    if classes > MAX_CLASSES:
        raise UnreadableError(f"{classes:,} classes, more than the {MAX_CLASSES:,} that a report shows")
    if not 0 <= labels.min() <= labels.max() < classes:
        raise UnreadableError(f"labels outside 0..{classes - 1}")
    if not np.isfinite(logits).all() or np.abs(logits).max() > np.finfo(np.float32).max:
        raise UnreadableError("logits that are not finite")
    return Predictions(labels.astype(np.int64), logits.astype(np.float32))


def _read_array(archive: zipfile.ZipFile, name: str, kinds: str, dimensions: int) -> np.ndarray:
    """An array of the archive, whose header is checked before anything is allocated for it."""
    try:
        entry = archive.getinfo(f"{name}.npy")
    except KeyError:
        raise UnreadableError(f"without {name}") from None
    if entry.file_size > MAX_BYTES:
        raise UnreadableError(f"{name} has {entry.file_size / MIB:,.0f} MiB")
    with archive.open(entry) as file:
        shape, fortran, dtype = _read_header(file)
        if dtype.kind not in kinds or len(shape) != dimensions:
            raise UnreadableError(f"{name} is {dtype} of shape {shape}"[:200])
        size = dtype.itemsize
        for length in shape:
            size *= length
        if min(shape) < 0 or size > MAX_BYTES:
            raise UnreadableError(f"{name} has shape {shape}"[:200])
        content = file.read(size)
    if len(content) < size:
        raise UnreadableError(f"{name} is cut short")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    if np.lib.format.read_magic(file) == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    return np.lib.format.read_array_header_2_0(file)
