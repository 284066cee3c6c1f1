"""Data sets that are streamed rather than loaded: a folder of pictures, or ArrayRecord files of TFDS."""

from pathlib import Path

import numpy as np

from jax_resnet.data.dataset import Dataset
from jax_resnet.data.prepared.read import version_folders
from jax_resnet.data.streaming.array_record import is_prepared, read_records
from jax_resnet.data.streaming.folder import read_folder
from jax_resnet.data.streaming.split import Source, StreamedSplit
from jax_resnet.errors import DataError

# Of ImageNet's pixels in [0, 1], which networks for natural pictures are trained with everywhere.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def find_prepared(data_dir: Path, name: str) -> Path:
    """The newest version of a data set that TFDS prepared.

    Raises:
        DataError: There is none.
    """
    for folder in version_folders(data_dir / name):
        if is_prepared(folder):
            return folder
    raise DataError(
        f"{name} is not under {data_dir}: prepare it there with tensorflow-datasets, "
        'file_format="array_record", name another --data-dir, or stream --dataset folder'
    )


def open_streamed(name: str, folder: Path, *, image_size: int, workers: int) -> Dataset[StreamedSplit]:
    """Opens pictures in folders, or one version of a data set that TFDS prepared as ArrayRecord files.

    Where there are both a validation and a test split with labels, they are that. Where there is one of them,
    it is the test split: whoever wants to choose by a validation set holds one out of the training split.

    Args:
        name: What to call it.
        folder: Holds ``train/CLASS/*.jpg`` and so on, or ``dataset_info.json``.
        image_size: Height and width of what comes out, in pixels.
        workers: Processes that decode; 0 for threads of this one.

    Raises:
        DataError: naming what is missing.
    """
    splits: dict[str, Source]
    if is_prepared(folder):
        records, classes = read_records(folder)
        splits = {**records}
    else:
        files, classes = read_folder(folder)
        splits = {**files}
    opened = {
        part: StreamedSplit(source, np.arange(len(source)), image_size, workers)
        for part, source in splits.items()
    }
    test = opened.get("test") or opened["val"]
    return Dataset(
        name,
        train=opened["train"],
        val=opened["val"] if len(opened) == 3 else None,
        test=test,
        class_names=classes,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )
