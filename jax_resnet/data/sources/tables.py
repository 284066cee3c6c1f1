"""Reads data sets stored as tables: Parquet as on Hugging Face's hub, Parquet and ARFF as on OpenML."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jax_resnet._text import first_line
from jax_resnet.data.dataset import ArraySplit, join_splits
from jax_resnet.data.registry import DatasetSpec
from jax_resnet.data.sources.archive import check_regular
from jax_resnet.data.sources.cifar import from_planes
from jax_resnet.data.sources.png import decode_png
from jax_resnet.errors import DataError

__all__ = ["PARQUET_MISSING", "read_arff", "read_parquet"]

PARQUET_MISSING = "Parquet files need pyarrow, which is not installed: pip install -e '.[data]'"

_IMAGE = ("img", "image")
_LABEL = ("label", "fine_label", "class", "labels")
_COARSE = ("coarse_label",)
_ROWS = 1000
_MAX_UNPACKED = 4 << 30
_MAX_LINE = 1 << 16
_MAX_HEADER_LINES = 10_000


def read_parquet(path: Path, spec: DatasetSpec) -> ArraySplit:
    """Reads one Parquet file: a column of PNGs, or a column per pixel, and a column of labels.

    Args:
        path: The file. Pixel columns are in the order of the original archive: for CIFAR all of red first.
        spec: The data set.

    Returns:
        The examples in the order of the rows.

    Raises:
        DataError: pyarrow is not installed, or the file is damaged or holds something else; the message
            names it.
    """
    check_regular(path)
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise DataError(PARQUET_MISSING) from error
    try:
        with parquet.ParquetFile(path) as file:
            _check_size(file.metadata, path, spec)
            return _join([_batch(batch, spec, path) for batch in file.iter_batches(_ROWS)], path)
    except DataError:
        raise
    except Exception as error:  # damaged files fail in many ways
        raise DataError(f"{path} is not a readable Parquet file ({first_line(error)})") from error


def _check_size(metadata: Any, path: Path, spec: DatasetSpec) -> None:
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    unpacked = sum(group.total_byte_size for group in groups)
    if not 0 < metadata.num_rows <= spec.train_size + spec.test_size or not 0 <= unpacked <= _MAX_UNPACKED:
        raise DataError(
            f"{path} is refused: it has {metadata.num_rows:,} rows in {unpacked:,} bytes, {spec.title} "
            f"{spec.train_size + spec.test_size:,}"
        )


def _batch(batch: Any, spec: DatasetSpec, path: Path) -> ArraySplit:
    names = batch.schema.names
    label = _first(_LABEL, names)
    if label is None:
        raise DataError(f"{path} has no column {' or '.join(_LABEL)}")
    coarse = _first(_COARSE, names)
    image = _first(_IMAGE, names)
    if image is not None:
        images = _decode(batch.column(names.index(image)), spec, path)
    else:
        pixels = [i for i, name in enumerate(names) if name not in (label, coarse)]
        if len(pixels) != math.prod(spec.image_shape):
            raise DataError(
                f"{path} has {len(pixels)} columns of pixels, {spec.title} has {math.prod(spec.image_shape)}"
            )
        columns = [_bytes(batch.column(i).to_numpy(zero_copy_only=False), path) for i in pixels]
        images = _images(np.stack(columns, axis=1), spec)
    return ArraySplit(
        images=images,
        labels=_labels(batch.column(names.index(label)).to_pylist(), spec.class_names, f"{path}: {label}"),
        coarse_labels=None
        if coarse is None
        else _labels(batch.column(names.index(coarse)).to_pylist(), spec.coarse_names, f"{path}: {coarse}"),
    )


def _first(wanted: Sequence[str], names: Sequence[str]) -> str | None:
    return next((name for name in wanted if name in names), None)


def _decode(column: Any, spec: DatasetSpec, path: Path) -> np.ndarray:
    height, width, channels = spec.image_shape
    images = []
    for value in column.to_pylist():
        encoded = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(encoded, bytes):
            raise DataError(f"{path} holds no images: a row has none")
        images.append(decode_png(encoded, (width, height), channels, f"an image in {path}"))
    return np.stack(images)


def _bytes(values: np.ndarray, path: Path) -> np.ndarray:
    if values.dtype.kind not in "iuf" or not np.all(
        (values >= 0) & (values <= 255) & (values == values // 1)
    ):
        raise DataError(f"{path} has pixels that are not whole numbers from 0 to 255")
    return values.astype(np.uint8)


def _images(rows: np.ndarray, spec: DatasetSpec) -> np.ndarray:
    return from_planes(rows, spec) if spec.family == "cifar" else rows.reshape(-1, *spec.image_shape)


def _labels(values: Sequence[Any], names: Sequence[str], origin: str) -> np.ndarray:
    """Labels given as numbers, as text of numbers, or as names of classes."""
    numbers = {str(i): i for i in range(len(names))} | {name: i for i, name in enumerate(names)}
    try:
        labels = [numbers[_text(value)] for value in values]
    except (KeyError, ValueError, OverflowError):
        raise DataError(f"{origin} has a label that is not one of the {len(names)} classes") from None
    return np.array(labels, np.int32)


def _text(label: Any) -> str:
    if isinstance(label, int | float):
        return str(int(label))
    return (label.decode("latin1") if isinstance(label, bytes) else str(label)).strip("'\"")


def _join(batches: list[ArraySplit], path: Path) -> ArraySplit:
    if not batches:
        raise DataError(f"{path} holds no rows")
    return join_splits(batches)


def read_arff(path: Path, spec: DatasetSpec) -> ArraySplit:
    """Reads an ARFF file as OpenML keeps it: an attribute per pixel, and one of labels.

    The readers of SciPy and liac-arff hold a Python object per pixel, 10 GB for CIFAR-10; this one holds a
    line at a time.

    Args:
        path: The file, with dense rows.
        spec: The data set.

    Returns:
        The examples in the order of the rows.

    Raises:
        DataError: The file is damaged or holds something else; the message names it.
    """
    check_regular(path)
    try:
        with path.open("rb") as file:
            lines = _lines(file, path)
            attributes = _read_header(lines, path)
            label = next((i for i, name in enumerate(attributes) if name in _LABEL), len(attributes) - 1)
            if len(attributes) - 1 != math.prod(spec.image_shape):
                raise DataError(
                    f"{path} has {len(attributes) - 1} attributes of pixels, {spec.title} has "
                    f"{math.prod(spec.image_shape)}"
                )
            return _read_rows(lines, label, len(attributes), spec, path)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from error


def _lines(file: Any, path: Path) -> Iterator[bytes]:
    while line := file.readline(_MAX_LINE + 1):
        if len(line) > _MAX_LINE:
            raise DataError(f"{path} is refused: it has a line of more than {_MAX_LINE:,} bytes")
        line = line.strip()
        if line and not line.startswith(b"%"):
            yield line


def _read_header(lines: Iterator[bytes], path: Path) -> list[str]:
    attributes: list[str] = []
    for count, line in enumerate(lines):
        words = line.split(None, 2)
        if count > _MAX_HEADER_LINES:
            break
        if words[0].lower() == b"@attribute" and len(words) == 3:
            attributes.append(words[1].decode("latin1").strip("'\"").lower())
        elif words[0].lower() == b"@data":
            return attributes
        elif words[0].lower() != b"@relation":
            break
    raise DataError(f"{path} is not an ARFF file: its header does not end with @data")


def _read_rows(lines: Iterator[bytes], label: int, columns: int, spec: DatasetSpec, path: Path) -> ArraySplit:
    rows: list[bytes] = []
    labels: list[str] = []
    for line in lines:
        values = line.split(b",")
        if len(values) != columns:
            raise DataError(f"{path}: row {len(rows) + 1} has {len(values)} values, not {columns}")
        if len(rows) == spec.train_size + spec.test_size:
            raise DataError(f"{path} has more than the {len(rows):,} rows of {spec.title}")
        labels.append(values.pop(label).strip().decode("latin1"))
        try:
            rows.append(bytes(map(int, values)))
        except ValueError:
            raise DataError(
                f"{path}: row {len(rows) + 1} has a pixel that is not a whole number from 0 to 255"
            ) from None
    pixels = np.frombuffer(b"".join(rows), np.uint8).reshape(-1, columns - 1)
    return ArraySplit(_images(pixels, spec), _labels(labels, spec.class_names, str(path)))
