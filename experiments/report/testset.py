"""The test images that predictions are of, where they are to be had without the network."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.errors import ExperimentError
from experiments.report.runs import Run
from jax_resnet import data


class TestImages:
    """Reads each data set once."""

    __test__ = False  # pytest takes every such name for tests

    def __init__(self, data_dir: str | None) -> None:
        """Looks in ``data_dir``, or where each run had its data."""
        self._data_dir = data_dir
        self._loaded: dict[Any, data.Split] = {}

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
        name = run.setting("dataset")
        key = (name, self._data_dir or run.setting("data_dir"))
        try:
            if key not in self._loaded:
                self._loaded[key] = data.load(name, data_dir=key[1], download=False).test
        except (data.DataError, ValueError, OSError) as error:
            reason = str(error).splitlines()[0].split(" Ways out")[0].rstrip(".:")
            raise ExperimentError(reason) from error
        split = self._loaded[key]
        assert run.predictions is not None
        if not np.array_equal(split.labels, run.predictions.labels):
            raise ExperimentError(f"the {name} found there has other labels than the run's predictions.npz")
        return split.images[list(index)]
