"""Curves over seeds."""

import numpy as np

from experiments.runs.series import training_series, training_speed
from tests.helpers.run_folders import record


def test_seeds_are_averaged_where_one_has_records_that_the_other_has_not():
    regular = [record("train", step, loss=1.0) for step in range(10, 1201, 10)]
    stopped = [record("train", step, loss=3.0) for step in range(10, 1201, 10)]
    stopped += [record("train", step, loss=3.0, images=40) for step in (14, 455, 777)]  # before a stop
    series = training_series([regular, stopped], "loss")
    assert len(series.epochs) == 120
    assert (np.diff(series.epochs) > 0).all()
    np.testing.assert_allclose(series.mean, 2.0)
    np.testing.assert_allclose(series.std, np.sqrt(2))


def test_the_speed_is_that_of_all_parts_of_a_run():
    records = [
        record("train", 10, images=1000, images_per_second=100.0),
        record("train", 20, images=1000, images_per_second=50.0),
        record("train", 21, images=100, images_per_second=None),
        record("val", 21),
    ]
    assert training_speed(records) == 2000 / 30
    assert training_speed(records[2:]) is None
