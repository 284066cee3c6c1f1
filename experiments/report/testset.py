"""The test images that predictions belong to, where this machine has them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.program.errors import ExperimentError
from experiments.report.runs import Run
from experiments.settings.datasets import STREAMED_DATASETS, DataSource
from jax_resnet import data
from jax_resnet._text import first_line
from jax_resnet.data import SILENT, Split
from jax_resnet.data.loader import data_folder
from jax_resnet.data.registry import DATASETS

__all__ = ["TestImages"]

MAX_IMAGE_SIZE = 1024  # pixels; a stranger's settings may ask for any size


class TestImages:
    """Reads test images; each data set is opened once."""

    __test__ = False  # pytest collects classes of such names

    def __init__(self, data_dir: str | None) -> None:
        """Reads from ``data_dir``, or where it is None from where each run had its data."""
        self._data_dir = data_dir
        self._opened: dict[Any, Split] = {}

    def read(self, run: Run, index: Sequence[int]) -> np.ndarray:
        """Some of the images that a run was tested on.

        Args:
            run: A run with predictions.
            index: The images' numbers in the test set.

        Returns:
            uint8, ``(len(index), height, width, channels)``.

        Raises:
            ExperimentError: The images are not on this machine, or are not those that the run was tested on.
        """
        dataset = str(run.setting("dataset"))
        data_dir = self._data_dir or run.setting("data_dir")
        image_size = run.setting("image_size")
        skip = bool(run.setting("skip_unreadable"))
        key = (dataset, data_dir, (image_size, skip) if dataset in STREAMED_DATASETS else None)
        try:
            if key not in self._opened:
                self._opened[key] = _open_test_split(dataset, data_dir, image_size, skip)
            return _check_labels(self._opened[key], run).images_at(index)
        except data.DataError as error:
            raise ExperimentError(error.reason) from error
        except (ValueError, OSError) as error:
            raise ExperimentError(first_line(error).rstrip(".:")) from error


def _open_test_split(dataset: str, data_dir: str | None, image_size: Any, skip_unreadable: bool) -> Split:
    if dataset in STREAMED_DATASETS:
        if not isinstance(image_size, int) or not 0 < image_size <= MAX_IMAGE_SIZE:
            raise ExperimentError(f"its --image-size of {image_size} is not within 1..{MAX_IMAGE_SIZE}")
        source: dict[str, Any] = {"dataset": dataset, "data_dir": data_dir, "image_size": image_size}
        return (
            DataSource(**source, workers=0, skip_unreadable=skip_unreadable)
            .load(SILENT, parts=("val", "test"))
            .test
        )
    if (spec := DATASETS.get(dataset)) and spec.family != "digits":
        root = data_folder(data_dir or None)
        if not (root / spec.name).is_dir():
            raise ExperimentError(f"{spec.title} is not here, in {root}")
    return data.load(dataset, data_dir=data_dir, download=False).test


def _check_labels(split: Split, run: Run) -> Split:
    assert run.predictions is not None
    labels = run.predictions.labels
    same = len(split) == len(labels) if split.labels is None else np.array_equal(split.labels, labels)
    if not same:
        raise ExperimentError("the test set found there has other labels than the run's predictions.npz")
    return split
