"""Decodes CIFAR-10 and CIFAR-100 from their original files, pickled ("python") or raw ("binary")."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from jax_resnet.data.dataset import ArraySplit, Splits, join_splits
from jax_resnet.data.registry import DatasetSpec
from jax_resnet.data.sources.pickles import read_pickle
from jax_resnet.errors import DataError

__all__ = ["decode_files", "file_names", "from_planes"]


@dataclasses.dataclass(frozen=True)
class _Layout:
    """File names of the two splits, and the labels that a record carries, in the binary order."""

    train: tuple[str, ...]
    test: str
    label_keys: tuple[str, ...]


_LAYOUTS = {
    "cifar10": _Layout(tuple(f"data_batch_{i}" for i in range(1, 6)), "test_batch", ("labels",)),
    "cifar100": _Layout(("train",), "test", ("coarse_labels", "fine_labels")),
}


def file_names(spec: DatasetSpec) -> set[str]:
    """Names of the files that either form of the archive holds."""
    pickled = (*_LAYOUTS[spec.name].train, _LAYOUTS[spec.name].test)
    return {*pickled, *(f"{name}.bin" for name in pickled)}


def decode_files(files: Mapping[str, bytes], spec: DatasetSpec, origin: str) -> Splits:
    """Decodes an original archive's files.

    Args:
        files: Contents by file name, of one form or both.
        spec: The row of "cifar10" or "cifar100".
        origin: Where they come from, for the message.

    Returns:
        The training and the test split, in the archive's order.

    Raises:
        DataError: A file is missing or wrong; the message names it.
    """
    layout = _LAYOUTS[spec.name]
    names = [*layout.train, layout.test]
    # There may be both forms; the binary files need no unpickling.
    is_binary = any(f"{name}.bin" in files for name in names)
    if is_binary:
        names = [f"{name}.bin" for name in names]
    missing = [name for name in names if name not in files]
    if missing:
        raise DataError(
            f"{origin} does not hold {spec.title}: {missing[0]} is missing, "
            f"so it is damaged or not {' or '.join(spec.archives)}"
        )
    read = _read_binary if is_binary else _read_pickled
    batches = [read(files[name], layout, spec, f"{origin}: {name}") for name in names]
    per_file = {len(batch) for batch in batches[:-1]}
    if per_file != {spec.train_size // len(layout.train)} or len(batches[-1]) != spec.test_size:
        sizes = ", ".join(str(len(batch)) for batch in batches)
        raise DataError(
            f"{origin} does not hold {spec.title}: its files have {sizes} images, "
            f"not {spec.train_size} and {spec.test_size}"
        )
    return join_splits(batches[:-1]), batches[-1]


def from_planes(planes: np.ndarray, spec: DatasetSpec) -> np.ndarray:
    """Images from rows of CIFAR's pixels: all of red, then green, then blue.

    Args:
        planes: uint8 array of shape (N, channels * height * width).
        spec: The data set.

    Returns:
        uint8 array of shape (N, height, width, channels).
    """
    height, width, channels = spec.image_shape
    return np.ascontiguousarray(planes.reshape(-1, channels, height, width).transpose(0, 2, 3, 1))


def _split(planes: np.ndarray, labels: list[np.ndarray], spec: DatasetSpec) -> ArraySplit:
    coarse, fine = (None, labels[0]) if len(labels) == 1 else labels
    return ArraySplit(
        images=from_planes(planes, spec),
        labels=fine.astype(np.int32),
        coarse_labels=None if coarse is None else coarse.astype(np.int32),
    )


def _read_binary(blob: bytes, layout: _Layout, spec: DatasetSpec, origin: str) -> ArraySplit:
    num_labels = len(layout.label_keys)
    record = num_labels + math.prod(spec.image_shape)
    if not blob or len(blob) % record:
        raise DataError(f"{origin} has {len(blob)} bytes, not a whole number of records of {record} bytes")
    records = np.frombuffer(blob, np.uint8).reshape(-1, record)
    return _split(records[:, num_labels:], [records[:, i] for i in range(num_labels)], spec)


def _read_pickled(blob: bytes, layout: _Layout, spec: DatasetSpec, origin: str) -> ArraySplit:
    content = read_pickle(blob, origin)
    if not isinstance(content, dict):
        raise DataError(f"{origin} holds a {type(content).__name__}, not the dictionary of a CIFAR batch")
    fields = {
        key.decode("latin1") if isinstance(key, bytes) else key: value for key, value in content.items()
    }
    absent = {"data", *layout.label_keys} - fields.keys()
    if absent:
        raise DataError(f"{origin} lacks {', '.join(sorted(absent))}: it is not a {spec.title} batch")
    data = fields["data"]
    columns = math.prod(spec.image_shape)
    if not (isinstance(data, np.ndarray) and data.dtype == np.uint8 and data.shape[1:] == (columns,)):
        raise DataError(f"{origin} is not a {spec.title} batch: data is not uint8 of shape (N, {columns})")
    labels = [_labels(fields[key], len(data), spec, f"{origin}: {key}") for key in layout.label_keys]
    return _split(data, labels, spec)


def _labels(value: Any, size: int, spec: DatasetSpec, origin: str) -> np.ndarray:
    if isinstance(value, list) and all(type(label) is int and 0 <= label < 256 for label in value):
        value = np.array(value, np.uint8)
    # Any other list has text, lists or numbers out of range in it.
    if not (isinstance(value, np.ndarray) and value.dtype.kind in "iu" and value.shape == (size,)):
        raise DataError(
            f"{origin} do not fit: {spec.title} has one whole number from 0 for each of the {size} images"
        )
    if size and not 0 <= value.min() <= value.max() < 256:
        raise DataError(f"{origin} reach from {value.min()} to {value.max()}")
    return value
