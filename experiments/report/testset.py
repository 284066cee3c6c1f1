"""The test images that predictions are of, where they are to be had without the network."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.program.errors import ExperimentError
from experiments.report.runs import Run
from experiments.settings.config import DataConfig
from experiments.settings.fields import from_dict
from jax_resnet import data
from jax_resnet._text import first_line
from jax_resnet.data import SILENT, Split


class TestImages:
    """Reads each data set once."""

    __test__ = False  # pytest takes every such name for tests

    def __init__(self, data_dir: str | None) -> None:
        """Looks in ``data_dir``, or where each run had its data."""
        self._data_dir = data_dir
        self._loaded: dict[Any, Split] = {}

    def of(self, run: Run, index: Sequence[int]) -> np.ndarray:
        """Some of the images that a run was tested on.

        Args:
            run: Has predictions.
            index: Which, by their number in the test set.

        Returns:
            uint8, ``(len(index), height, width, channels)``.

        Raises:
            ExperimentError: They are not to be had here, or are others than the run was tested on.
        """
        wanted = from_dict(DataConfig, run.settings)
        wanted = dataclasses.replace(wanted, data_dir=self._data_dir or wanted.data_dir, workers=0)
        key = (wanted.dataset, wanted.data_dir, wanted.image_size)
        try:
            if key not in self._loaded:
                self._loaded[key] = _test_split(wanted)
            return _checked(self._loaded[key], run).images_at(index)
        except data.DataError as error:
            raise ExperimentError(error.reason) from error
        except (ValueError, OSError) as error:
            raise ExperimentError(first_line(error)) from error


def _test_split(wanted: DataConfig) -> Split:
    if wanted.is_streamed:  # which are never fetched
        return wanted.load(SILENT).test
    return data.load(wanted.dataset, data_dir=wanted.data_dir, download=False).test


def _checked(split: Split, run: Run) -> Split:
    assert run.predictions is not None
    labels = run.predictions.labels
    same = len(split) == len(labels) if split.labels is None else np.array_equal(split.labels, labels)
    if not same:
        raise ExperimentError("the test set found there has other labels than the run's predictions.npz")
    return split
