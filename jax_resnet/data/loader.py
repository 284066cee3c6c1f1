"""``load``: a data set by name, from the fastest place that has it."""

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jax_resnet._files import local_path
from jax_resnet.data.dataset import ArrayDataset, Dataset, Splits, channel_statistics
from jax_resnet.data.locks import prepare_lock
from jax_resnet.data.prepared.cache import cache_path, read_cache, write_cache
from jax_resnet.data.prepared.read import Prepared, find_complete, read_prepared
from jax_resnet.data.prepared.write import write_prepared
from jax_resnet.data.registry import DatasetSpec, get_spec
from jax_resnet.data.reporter import SILENT, PlainReporter, Reporter
from jax_resnet.data.sources import digits, find
from jax_resnet.errors import DataError

__all__ = ["data_folder", "default_data_dir", "load"]

_LIBRARIES = ("tensorflow_datasets", "array_record", "PIL", "pooch")


def default_data_dir() -> Path:
    """TFDS's own default: ``TFDS_DATA_DIR``, else ``~/tensorflow_datasets``.

    Raises:
        DataError: It is a URL, or in a home folder that is not known.
    """
    return local_path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets", DataError)


def data_folder(data_dir: str | os.PathLike[str] | None) -> Path:
    """The path of a folder of data sets on this machine; ``default_data_dir()`` for None.

    Raises:
        DataError: It is a URL, or in a home folder that is not known.
    """
    return default_data_dir() if data_dir is None else local_path(data_dir, DataError)


def load(
    name: str | DatasetSpec,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    archive: str | os.PathLike[str] | None = None,
    mirrors: Sequence[str] = (),
    download: bool = True,
    progress: bool = False,
    reporter: Reporter | None = None,
) -> ArrayDataset:
    """Loads a data set into memory, the same bytes in the same order whatever the source.

    A data set that tensorflow-datasets has prepared under ``data_dir`` (in ArrayRecord form, by anyone)
    is read as it is. Otherwise it is fetched, verified, and prepared there: from ``archive`` if that is
    given, else from the network, the fastest source first. A decoded cache beside it makes later starts fast.

    Args:
        name: One of ``list_datasets()``, or a ``DatasetSpec``.
        data_dir: The folder of tensorflow-datasets; None for its own default.
        archive: Files of the data set, or the folder that holds them. When given, they are what is loaded,
            or loading fails.
        mirrors: URLs of folders that hold the original archives, or of one archive.
        download: Whether the network may be used.
        progress: Whether to write progress to standard error, in plain lines.
        reporter: Receives progress and the sources that fail; takes the place of ``progress``.

    Returns:
        The data set: uint8 images of shape (N, height, width, channels), int32 labels of shape (N,).

    Raises:
        DatasetNameError: The name is unknown.
        DataError: No source has the right data; the message says what would help.
    """
    spec = get_spec(name) if isinstance(name, str) else name
    reporter = reporter or (PlainReporter() if progress else SILENT)
    if spec.family == "digits":
        if archive is not None:
            raise DataError("the digits come with scikit-learn, not from an archive: leave --archive out")
        return digits.load(spec)
    root = data_folder(data_dir)
    if archive is not None:
        _check_libraries(spec)
    # Before anything else, so that a wrong archive fails even where the data set is already prepared.
    named = None if archive is None else find.from_archive(Path(archive), spec, reporter)

    prepared = find_complete(root, spec, reporter)
    if prepared is None:
        if named is None and not download:
            raise find.no_source_error(spec, ["nothing: downloads are switched off"])
        _check_libraries(spec)
        with prepare_lock(root / spec.name, spec.name, reporter):
            prepared = find_complete(root, spec, reporter)  # perhaps by the process that held the lock
            if prepared is None:
                return _prepare(root, spec, named, mirrors, reporter)

    dataset = _read(prepared, spec, root, reporter)
    if named is not None and not _same_examples(named, (dataset.train, dataset.test)):
        raise DataError(f"{prepared.folder} already holds other data than {archive}; name another --data-dir")
    return dataset


def _check_libraries(spec: DatasetSpec) -> None:
    """Checks, before any download, for the libraries that read and prepare data sets; a cache needs none.

    Raises:
        DataError: A library is missing.
    """
    missing = [name for name in _LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise DataError(
            f"{spec.name} needs {' and '.join(missing)}, which is not installed: pip install -e '.[data]'"
        )


def _prepare(
    root: Path, spec: DatasetSpec, named: Splits | None, mirrors: Sequence[str], reporter: Reporter
) -> ArrayDataset:
    splits = named or find.from_network(spec, mirrors, root / spec.name, reporter)
    write_prepared(root, spec, splits, reporter)
    prepared = find_complete(root, spec, reporter)
    if prepared is None:
        raise DataError(f"{root / spec.name} changed while {spec.name} was prepared: try again")
    return _cached(_dataset(spec, splits), prepared, root, reporter)


def _read(prepared: Prepared, spec: DatasetSpec, root: Path, reporter: Reporter) -> ArrayDataset:
    try:
        cached = read_cache(cache_path(root / spec.name), spec, prepared.fingerprint())
        if cached is not None:
            return cached
    except ValueError as error:
        reporter.line(f"{error}: made anew from {prepared.folder}")
    _check_libraries(spec)
    return _cached(_dataset(spec, read_prepared(prepared, spec, reporter)), prepared, root, reporter)


def _cached(dataset: ArrayDataset, prepared: Prepared, root: Path, reporter: Reporter) -> ArrayDataset:
    try:
        write_cache(cache_path(root / dataset.name), dataset, prepared.fingerprint())
    except OSError as error:
        folder = root / dataset.name
        reporter.line(f"no decoded cache in {folder} ({error.strerror}): later starts take longer")
    return dataset


def _dataset(spec: DatasetSpec, splits: Splits) -> ArrayDataset:
    train, test = splits
    mean, std = channel_statistics(train.images)
    return Dataset(spec.name, train, test, spec.class_names, mean, std)


def _same_examples(left: Splits, right: Splits) -> bool:
    return all(
        np.array_equal(a.images, b.images) and np.array_equal(a.labels, b.labels)
        # Coarse labels follow from the fine ones.
        for a, b in zip(left, right, strict=True)
    )
