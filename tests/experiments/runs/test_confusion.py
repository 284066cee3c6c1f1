import numpy as np
import pytest

from experiments.runs.confusion import confusion_matrix


def test_rows_are_true_classes_and_columns_predictions():
    counts = confusion_matrix(np.array([0, 0, 2, 2, 2]), np.array([0, 1, 2, 2, 0]), 3)
    assert counts.dtype == np.int64
    np.testing.assert_array_equal(counts, [[1, 1, 0], [0, 0, 0], [1, 0, 2]])


def test_small_integer_types_do_not_overflow():
    labels = np.full(3, 250, np.uint8)
    assert confusion_matrix(labels, labels, 251)[250, 250] == 3


@pytest.mark.parametrize(("labels", "predictions"), [([3], [0]), ([0], [3]), ([-1], [0])])
def test_classes_out_of_range_are_refused(labels, predictions):
    with pytest.raises(ValueError, match=r"not 0\.\.2"):
        confusion_matrix(np.array(labels), np.array(predictions), 3)
