"""Reads TFRecord files as tensorflow-datasets prepares them, without TensorFlow."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jax_resnet._text import first_line
from jax_resnet.data.dataset import ArraySplit
from jax_resnet.data.registry import DatasetSpec
from jax_resnet.data.sources.archive import check_regular
from jax_resnet.data.sources.png import decode_png
from jax_resnet.errors import DataError

__all__ = ["read_tfrecords"]

_MAX_RECORD = 1 << 20


def read_tfrecords(paths: list[Path], spec: DatasetSpec) -> tuple[ArraySplit, list[bytes | None]]:
    """Reads the TFRecord files of one split.

    Args:
        paths: The split's files, in order.
        spec: The data set.

    Returns:
        The examples in the order of the files, and their ids (None for an example without one).

    Raises:
        DataError: A file is damaged or holds something else; the message names it.
    """
    height, width, channels = spec.image_shape
    images: list[np.ndarray] = []
    labels: list[int] = []
    coarse: list[int] = []
    ids: list[bytes | None] = []
    for path in paths:
        for record in _records(path):
            if len(images) == spec.train_size + spec.test_size:
                raise DataError(f"{path} has more than the {len(images):,} records of {spec.title}")
            encoded, label, coarse_label, identity = _parse(record, path)
            images.append(decode_png(encoded, (width, height), channels, f"an image in {path}"))
            labels.append(label)
            coarse.append(coarse_label)
            ids.append(identity)
    if not images:
        raise DataError(f"{', '.join(map(str, paths))} hold no records")
    split = ArraySplit(
        np.stack(images),
        np.array(labels, np.int32),
        np.array(coarse, np.int32) if spec.coarse_names else None,
    )
    return split, ids


def _records(path: Path) -> Iterator[bytes]:
    """The records: each is its length (uint64), a CRC, the data, and a CRC. The pixels are verified later."""
    check_regular(path)
    try:
        with path.open("rb") as file:
            while header := file.read(12):
                length = int.from_bytes(header[:8], "little")
                if len(header) < 12 or length > _MAX_RECORD:
                    raise DataError(f"{path} is not a readable TFRecord file")
                record = file.read(length)
                if len(record) < length or len(file.read(4)) < 4:
                    raise DataError(f"{path} is truncated")
                yield record
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from error


def _parse(record: bytes, path: Path) -> tuple[bytes, int, int, bytes | None]:
    from tensorflow_datasets.proto import tf_example_pb2

    try:
        features: Any = tf_example_pb2.Example.FromString(record).features.feature
        (encoded,) = features["image"].bytes_list.value
        (label,) = features["label"].int64_list.value
        coarse = features["coarse_label"].int64_list.value if "coarse_label" in features else [-1]
        identity = features["id"].bytes_list.value[0] if "id" in features else None
        numbers = int(np.int32(label)), int(np.int32(coarse[0]))
    except Exception as error:  # damaged records fail in many ways
        raise DataError(f"{path} has a record without image and label ({first_line(error)})") from error
    return encoded, *numbers, identity
