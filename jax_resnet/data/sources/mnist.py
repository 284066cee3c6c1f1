"""Decodes MNIST from its four original IDX files, compressed or not."""

import math
from collections.abc import Mapping

import numpy as np

from jax_resnet.data.dataset import ArraySplit, Splits
from jax_resnet.data.registry import DatasetSpec
from jax_resnet.data.sources.archive import gunzip
from jax_resnet.errors import DataError

__all__ = ["decode_files", "file_names", "read_idx"]

_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
# Some copies spell train-images.idx3-ubyte.
_SPELLINGS = {
    file: [f"{name}{end}" for end in ("", ".gz") for name in (file, file.replace("-idx", ".idx"))]
    for file in _FILES
}


def file_names() -> set[str]:
    """Every name that one of the four files may have."""
    return {spelling for spellings in _SPELLINGS.values() for spelling in spellings}


def decode_files(files: Mapping[str, bytes], spec: DatasetSpec, origin: str) -> Splits:
    """Decodes the four files.

    Args:
        files: Contents by file name.
        spec: The row of "mnist".
        origin: Where they come from, for the message.

    Returns:
        The training and the test split, images of shape (N, 28, 28, 1).

    Raises:
        DataError: A file is missing or wrong; the message names it.
    """
    arrays = []
    for name, spellings in _SPELLINGS.items():
        present = [spelling for spelling in spellings if spelling in files]
        if not present:
            raise DataError(f"{origin} does not hold {spec.title}: {name} (or {name}.gz) is missing")
        arrays.append(read_idx(files[present[0]], f"{origin}: {present[0]}"))
    train_images, train_labels, test_images, test_labels = arrays
    return (
        _split(train_images, train_labels, spec.train_size, spec, origin),
        _split(test_images, test_labels, spec.test_size, spec, origin),
    )


def _split(images: np.ndarray, labels: np.ndarray, size: int, spec: DatasetSpec, origin: str) -> ArraySplit:
    height, width, _ = spec.image_shape
    if images.shape != (size, height, width) or labels.shape != (size,):
        raise DataError(
            f"{origin} does not hold {spec.title}: images {images.shape} and labels {labels.shape}, "
            f"not {(size, height, width)} and {(size,)}"
        )
    return ArraySplit(images[..., None], labels.astype(np.int32))


def read_idx(blob: bytes, origin: str) -> np.ndarray:
    """The uint8 array in an IDX file.

    The file is two zero bytes, the type (8: uint8), the rank, the sizes (big-endian uint32), the data.

    Args:
        blob: The file's content, possibly compressed with gzip.
        origin: Where it comes from, for the message.

    Raises:
        DataError: The content is damaged or something else.
    """
    if blob[:2] == b"\x1f\x8b":
        blob = gunzip(blob, origin)
    rank = blob[3] if len(blob) > 3 else 0
    start = 4 + 4 * rank
    if blob[:3] != b"\0\0\x08" or not 1 <= rank <= 3 or len(blob) < start:
        raise DataError(f"{origin} is not an IDX file of bytes")
    shape = tuple(int.from_bytes(blob[i : i + 4], "big") for i in range(4, start, 4))
    if not all(shape):
        raise DataError(f"{origin} is empty: its header promises {shape}")
    if len(blob) - start != math.prod(shape):
        raise DataError(f"{origin} has {len(blob) - start} bytes of data, its header promises {shape}")
    return np.frombuffer(blob, np.uint8, offset=start).reshape(shape)
