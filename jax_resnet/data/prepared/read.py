"""Finds and reads data sets that tensorflow-datasets prepared; finding needs neither it nor TensorFlow."""

import dataclasses
import hashlib
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jax_resnet._text import first_line
from jax_resnet.data.checksums import verify
from jax_resnet.data.dataset import ArraySplit, Splits
from jax_resnet.data.registry import DatasetSpec
from jax_resnet.data.reporter import Reporter
from jax_resnet.errors import DataError

__all__ = ["Prepared", "find_complete", "original_order", "read_prepared", "version_folders"]

_VERSION = re.compile(r"\d+\.\d+\.\d+")
_CHUNK = 1000
_ADVICE = "delete that folder or name another --data-dir"


class _OtherFormError(DataError):
    """A complete data set in a form that cannot be read here."""


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A complete data set in TFDS layout.

    Attributes:
        folder: Its folder, ``<name>/<version>`` or ``<name>/<config>/<version>``.
        files: Its description and its shards.
    """

    folder: Path
    files: tuple[Path, ...]

    def fingerprint(self) -> str:
        """Changes when any of the files is replaced; costs one ``stat`` per file."""
        stats = [(str(file.relative_to(self.folder.parent)), file.stat()) for file in self.files]
        return json.dumps([(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats])


def find_complete(data_dir: Path, spec: DatasetSpec, reporter: Reporter) -> Prepared | None:
    """Looks for a complete data set of any version, the newest first.

    Args:
        data_dir: TFDS's data folder.
        spec: The data set.
        reporter: Receives a line for each version that is passed over.

    Returns:
        The newest complete version; None where there is none.

    Raises:
        DataError: Only a broken one is there, in a place where ours would go.
    """
    useless = []
    for folder in version_folders(data_dir / spec.name):
        try:
            return _inspect(folder, spec)
        except DataError as error:
            useless.append((folder, error))
    root = data_dir / spec.name
    ours = (root / spec.version, root / "array_record" / spec.version)
    for folder, reason in useless:
        if folder in ours and not isinstance(reason, _OtherFormError):
            raise DataError(f"{reason}; {_ADVICE}")
        reporter.line(f"{reason}: passed over")
    return None


def version_folders(root: Path) -> list[Path]:
    """The folders of all versions and configurations of a data set, newest first."""
    folders = [f for pattern in ("*", "*/*") for f in root.glob(pattern) if _VERSION.fullmatch(f.name)]
    return sorted(folders, key=lambda f: (tuple(map(int, f.name.split("."))), str(f)), reverse=True)


def _inspect(folder: Path, spec: DatasetSpec) -> Prepared:
    description = folder / "dataset_info.json"
    try:
        info = json.loads(description.read_text())
        file_format = info.get("fileFormat", "tfrecord")
        splits = {split["name"]: split for split in info["splits"]}
        files = [description, folder / "features.json"]
        files += [folder / shard for split in splits.values() for shard in _shard_names(info, split)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{folder} is incomplete: no readable {description.name}") from error
    if file_format != "array_record":
        raise _OtherFormError(f"{folder} is in {file_format} form, which only TensorFlow reads")
    if not {"train", "test"} <= splits.keys():
        raise DataError(f"{folder} is not {spec.title}: it has no train and test splits")
    for file in files:
        if not file.is_file() or not file.stat().st_size:
            raise DataError(f"{folder} is incomplete: {file.name} is missing or empty")
    return Prepared(folder, tuple(files))


def _shard_names(info: dict[str, Any], split: dict[str, Any]) -> list[str]:
    template = split.get("filepathTemplate") or "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    count = len(split["shardLengths"])
    return [
        template.format(
            DATASET=info["name"],
            SPLIT=split["name"],
            FILEFORMAT=info.get("fileFormat", "tfrecord"),
            SHARD_INDEX=f"{shard:05d}",
            NUM_SHARDS=f"{count:05d}",
            SHARD_X_OF_Y=f"{shard:05d}-of-{count:05d}",
        )
        for shard in range(count)
    ]


def read_prepared(prepared: Prepared, spec: DatasetSpec, reporter: Reporter) -> Splits:
    """Decodes a prepared data set into the order of the original archive, and checks it.

    Raises:
        DataError: The data set is damaged or holds other data; the message names the folder.
    """
    import tensorflow_datasets as tfds

    total = spec.train_size + spec.test_size
    with reporter.progress(f"reading {spec.name} (images)", total) as advance:
        try:
            builder = tfds.builder_from_directory(str(prepared.folder))
            train, test = (_read_split(tfds, builder, name, spec, advance) for name in ("train", "test"))
        except Exception as error:  # damaged records fail in many ways
            raise DataError(f"{prepared.folder} cannot be read ({first_line(error)}); {_ADVICE}") from error
    try:
        verify((train, test), spec, str(prepared.folder))
    except DataError as error:
        raise DataError(f"{error}; {_ADVICE}") from error
    return train, test


def _read_split(
    tfds: Any, builder: Any, name: str, spec: DatasetSpec, advance: Callable[[int], None]
) -> ArraySplit:
    # Decoding the PNGs here takes half as long as through TFDS, which also prints advice on OpenCV.
    source = builder.as_data_source(name, decoders={"image": tfds.decode.SkipDecoding()})
    examples: list[dict[str, Any]] = []
    images = np.empty((len(source), *spec.image_shape), np.uint8)
    for start in range(0, len(source), _CHUNK):
        chunk = source.__getitems__(list(range(start, min(start + _CHUNK, len(source)))))
        for example in chunk:
            images[len(examples)] = _decode_image(example.pop("image"), spec)
            examples.append(example)
        advance(len(chunk))
    order = original_order(name, [example.get("id") for example in examples])
    coarse = np.array([example.get("coarse_label", -1) for example in examples], np.int32)
    return ArraySplit(
        images=images[order],
        labels=np.array([example["label"] for example in examples], np.int32)[order],
        coarse_labels=coarse[order] if spec.coarse_names else None,
    )


def _decode_image(encoded: bytes, spec: DatasetSpec) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(encoded))).reshape(spec.image_shape)


def original_order(split: str, ids: list[bytes | None]) -> np.ndarray:
    """The records' places, listed in the order of the original archive.

    TFDS writes examples in the order of a hash of their keys. CIFAR's examples carry ids ("train_00000").
    The key of any other example is its original index, hashed together with the split's name.

    Args:
        split: Name of the split, "train" or "test".
        ids: The records' ids in the order of the files; None for a record without one.
    """
    pattern = re.compile(rf"{split}_\d{{5,}}".encode())
    if all(i is not None and pattern.fullmatch(i) for i in ids):
        return np.array(sorted(range(len(ids)), key=lambda place: (len(ids[place] or b""), ids[place])))
    keys = (f"{split}{index}".encode() for index in range(len(ids)))
    hashes = [hashlib.md5(key, usedforsecurity=False).digest() for key in keys]
    return np.argsort(sorted(range(len(ids)), key=hashes.__getitem__))
