"""Opens data sets that are streamed rather than loaded: image folders, or TFDS's ArrayRecord files."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from jax_resnet.data.dataset import Dataset
from jax_resnet.data.prepared.read import version_folders
from jax_resnet.data.streaming.array_record import ARRAY_RECORD, forms, is_prepared, read_records
from jax_resnet.data.streaming.folder import PARTS, read_folder
from jax_resnet.data.streaming.scan import report_unreadable
from jax_resnet.data.streaming.split import Source, StreamedSplit
from jax_resnet.errors import DataError

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "find_prepared", "open_streamed"]

# Per channel, of ImageNet's pixels scaled to [0, 1]: networks for photographs are commonly trained with them,
# and computing a data set's own would mean decoding every image.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def find_prepared(data_dir: Path, name: str) -> Path:
    """The folder of a data set that TFDS prepared: the newest version as ArrayRecord files, else the newest.

    Raises:
        DataError: No version is there.
    """
    found = [folder for folder in version_folders(data_dir / name) if is_prepared(folder)]
    if found:
        return next(filter(_in_records, found), found[0])
    raise DataError(
        f"{name} is not under {data_dir}: prepare it there with tensorflow-datasets, "
        'file_format="array_record", name another --data-dir, or stream --dataset folder'
    )


def _in_records(folder: Path) -> bool:
    try:
        return ARRAY_RECORD in forms(folder)
    except DataError:
        return False


def open_streamed(
    name: str,
    folder: Path,
    *,
    image_size: int,
    workers: int,
    parts: Sequence[str] = PARTS,
    skip_unreadable: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> Dataset[StreamedSplit]:
    """Opens an image folder, or one version of a data set that TFDS prepared as ArrayRecord files.

    A data set with one labeled split beside ``train``, be it called "val" or "test", has it as its test split
    and no validation split: hold one out of the training split where one is needed.

    Args:
        name: The data set's name.
        folder: Holds ``train/CLASS/*.jpg`` and so on, or ``dataset_info.json``.
        image_size: Height and width of the images that batches hold, in pixels.
        workers: Number of processes that decode; 0 for threads of this process.
        parts: The splits that are needed. Without "train" the test split is also the training split; where
            "train" alone is named, it is also the test split.
        skip_unreadable: Whether to decode every image first and to leave out those that cannot be.
        report: Called with one line each about what is left out, and before a split is decoded.

    Returns:
        The data set, with ImageNet's mean and standard deviation.

    Raises:
        DataError: Something is missing; the message names it.
    """
    splits: dict[str, Source]
    if is_prepared(folder):
        records, classes = read_records(folder)
        splits = {part: source for part, source in records.items() if part in parts}
    else:
        files, classes = read_folder(folder, parts=parts, skip_unreadable=skip_unreadable, report=report)
        splits = {**files}
    opened = {
        part: StreamedSplit(source, np.arange(len(source)), image_size, workers)
        for part, source in splits.items()
    }
    if skip_unreadable and is_prepared(folder):
        opened = {part: _readable(split, part, report) for part, split in opened.items()}
    for_test = [part for part in ("test", "val", "train") if part in opened]
    if not for_test:
        raise DataError(f"{folder} has no {' and no '.join(parts)}")
    test = opened[for_test[0]]
    return Dataset(
        name,
        train=opened.get("train", test),
        val=opened["val"] if len(opened) == 3 else None,
        test=test,
        class_names=classes,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )


def _readable(split: StreamedSplit, name: str, report: Callable[[str], None]) -> StreamedSplit:
    readable = np.ones(len(split), bool)
    readable[list(report_unreadable(split.source, name, report))] = False
    return split.take(readable)
