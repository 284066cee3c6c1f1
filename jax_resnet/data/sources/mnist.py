"""Decodes MNIST from its four original IDX files, compressed or not."""

import gzip
import zlib
from pathlib import Path

import numpy as np

from jax_resnet.data.dataset import ArraySplit, Splits
from jax_resnet.data.registry import Spec
from jax_resnet.data.sources.archive import read_files
from jax_resnet.errors import DataError

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def decode(path: Path, spec: Spec) -> Splits:
    """Reads the four files from a folder or a tar archive.

    Args:
        path: A folder, a tar archive, or one of the four files, beside which the others lie.
        spec: The row of "mnist".

    Returns:
        The training and the test split, images of shape (N, 28, 28, 1).

    Raises:
        DataError: naming what is missing or wrong.
    """
    # Some copies spell train-images.idx3-ubyte.
    spellings = {f: [f"{name}{end}" for end in ("", ".gz") for name in (f, _dotted(f))] for f in FILES}
    every = {spelling for variants in spellings.values() for spelling in variants}
    if path.is_file() and path.name in every:
        path = path.parent
    found = read_files(path, every)
    arrays = []
    for name, variants in spellings.items():
        there = [variant for variant in variants if variant in found]
        if not there:
            raise DataError(f"{path} does not hold {spec.title}: {name} (or {name}.gz) is missing")
        arrays.append(_read_idx(found[there[0]], f"{path}: {there[0]}"))
    train_images, train_labels, test_images, test_labels = arrays
    return (
        _split(train_images, train_labels, spec.train_size, spec, path),
        _split(test_images, test_labels, spec.test_size, spec, path),
    )


def _dotted(name: str) -> str:
    return name.replace("-idx", ".idx")


def _split(images: np.ndarray, labels: np.ndarray, size: int, spec: Spec, path: Path) -> ArraySplit:
    height, width, _ = spec.image_shape
    if images.shape != (size, height, width) or labels.shape != (size,):
        raise DataError(
            f"{path} does not hold {spec.title}: images {images.shape} and labels {labels.shape}, "
            f"not {(size, height, width)} and {(size,)}"
        )
    return ArraySplit(images[..., None], labels.astype(np.int32))


def _read_idx(blob: bytes, origin: str) -> np.ndarray:
    """An IDX file: two zero bytes, the type (8: uint8), the rank, the big-endian sizes, the data."""
    if blob[:2] == b"\x1f\x8b":
        try:
            blob = gzip.decompress(blob)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(f"{origin} is truncated or damaged ({error})") from error
    rank = blob[3] if len(blob) > 3 else 0
    start = 4 + 4 * rank
    if blob[:3] != b"\0\0\x08" or not 1 <= rank <= 3 or len(blob) < start:
        raise DataError(f"{origin} is not an IDX file of bytes")
    shape = tuple(int(size) for size in np.frombuffer(blob, ">u4", rank, offset=4))
    if len(blob) - start != int(np.prod(shape)):
        raise DataError(f"{origin} has {len(blob) - start} bytes of data, its header promises {shape}")
    return np.frombuffer(blob, np.uint8, offset=start).reshape(shape)
