"""Decodes CIFAR-10 and CIFAR-100 from their original files, pickled ("python") or raw ("binary")."""

import dataclasses
import io
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jax_resnet.data.dataset import ArraySplit, Splits
from jax_resnet.data.registry import Spec
from jax_resnet.data.sources.archive import read_files
from jax_resnet.errors import DataError


@dataclasses.dataclass(frozen=True)
class _Layout:
    """File names of the two splits, and the labels a record carries, in the binary order."""

    train: tuple[str, ...]
    test: tuple[str, ...]
    label_keys: tuple[str, ...]


_LAYOUTS = {
    "cifar10": _Layout(tuple(f"data_batch_{i}" for i in range(1, 6)), ("test_batch",), ("labels",)),
    "cifar100": _Layout(("train",), ("test",), ("coarse_labels", "fine_labels")),
}


def decode(path: Path, spec: Spec) -> Splits:
    """Reads an original archive or its extracted folder.

    Args:
        path: ``cifar-10-python.tar.gz``, ``cifar-10-binary.tar.gz``, CIFAR-100's, or their folders.
        spec: The row of "cifar10" or "cifar100".

    Returns:
        The training and the test split, in the archive's order.

    Raises:
        DataError: naming what is missing or wrong.
    """
    layout = _LAYOUTS[spec.name]
    pickled = layout.train + layout.test
    binary = tuple(f"{name}.bin" for name in pickled)
    files = read_files(path, {*pickled, *binary})
    # A folder may hold both; the binary files need no unpickling.
    names, read = (binary, _read_binary) if set(binary) & files.keys() else (pickled, _read_pickle)
    missing = [name for name in names if name not in files]
    if missing:
        raise DataError(
            f"{path} does not hold {spec.title}: {missing[0]} is missing, "
            f"so it is damaged or not {' or '.join(spec.archives)}"
        )
    batches = [read(files[name], layout, spec, f"{path}: {name}") for name in names]
    per_file = {len(batch) for batch in batches[: len(layout.train)]}
    if per_file != {spec.train_size // len(layout.train)} or len(batches[-1]) != spec.test_size:
        sizes = ", ".join(str(len(batch)) for batch in batches)
        raise DataError(
            f"{path} does not hold {spec.title}: its files have {sizes} images, "
            f"not {spec.train_size} and {spec.test_size}"
        )
    return _join(batches[: len(layout.train)]), batches[-1]


def _join(batches: list[ArraySplit]) -> ArraySplit:
    coarse = [batch.coarse_labels for batch in batches if batch.coarse_labels is not None]
    return ArraySplit(
        images=np.concatenate([batch.images for batch in batches]),
        labels=np.concatenate([batch.labels for batch in batches]),
        coarse_labels=np.concatenate(coarse) if coarse else None,
    )


def _split(planes: np.ndarray, labels: list[np.ndarray], spec: Spec) -> ArraySplit:
    height, width, channels = spec.image_shape
    images = planes.reshape(-1, channels, height, width).transpose(0, 2, 3, 1)
    coarse, fine = (None, labels[0]) if len(labels) == 1 else labels
    return ArraySplit(
        images=np.ascontiguousarray(images),
        labels=fine.astype(np.int32),
        coarse_labels=None if coarse is None else coarse.astype(np.int32),
    )


def _read_binary(blob: bytes, layout: _Layout, spec: Spec, origin: str) -> ArraySplit:
    num_labels = len(layout.label_keys)
    record = num_labels + int(np.prod(spec.image_shape))
    if not blob or len(blob) % record:
        raise DataError(f"{origin} has {len(blob)} bytes, not a whole number of records of {record} bytes")
    records = np.frombuffer(blob, np.uint8).reshape(-1, record)
    return _split(records[:, num_labels:], [records[:, i] for i in range(num_labels)], spec)


def _read_pickle(blob: bytes, layout: _Layout, spec: Spec, origin: str) -> ArraySplit:
    try:
        content = _Unpickler(io.BytesIO(blob), encoding="bytes").load()
    except DataError as error:
        raise DataError(f"{origin} is refused: {error}") from error
    except Exception as error:  # a damaged pickle can fail in any way
        raise DataError(f"{origin} is not a readable pickle ({type(error).__name__}: {error})") from error
    if not isinstance(content, Mapping):
        raise DataError(f"{origin} holds a {type(content).__name__}, not the dictionary of a CIFAR batch")
    fields = {key.decode() if isinstance(key, bytes) else key: value for key, value in content.items()}
    absent = {"data", *layout.label_keys} - fields.keys()
    if absent:
        raise DataError(f"{origin} lacks {', '.join(sorted(absent))}: it is not a {spec.title} batch")
    data = fields["data"]
    columns = int(np.prod(spec.image_shape))
    if not (isinstance(data, np.ndarray) and data.dtype == np.uint8 and data.shape[1:] == (columns,)):
        raise DataError(f"{origin} is not a {spec.title} batch: data is not uint8 of shape (N, {columns})")
    labels = [np.asarray(fields[key]) for key in layout.label_keys]
    if any(label.shape != (len(data),) or label.dtype.kind not in "iu" for label in labels):
        raise DataError(f"{origin} is not a {spec.title} batch: its labels do not fit its {len(data)} images")
    return _split(data, labels, spec)


# Asking NumPy for its own function avoids the private module name that moved in NumPy 2.
_reconstruct: Any = np.zeros(0).__reduce__()[0]


def _encode_latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise DataError(f"its pickle asks for the codec {encoding}")
    return text.encode("latin1")


class _Unpickler(pickle.Unpickler):
    """Builds arrays, bytes, numbers, lists and dicts; nothing else can be named, let alone called."""

    _ALLOWED: Mapping[tuple[str, str], Callable[..., Any]] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
        ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
        ("_codecs", "encode"): _encode_latin1,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise DataError(f"its pickle names {module}.{name}, which no CIFAR file needs")
        return self._ALLOWED[module, name]
