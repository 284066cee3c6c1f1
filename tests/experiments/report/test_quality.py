"""Values computed by hand."""

import numpy as np
import pytest

from experiments.report.quality import calibration_error, disagreement, ensemble_accuracy, top_k_accuracy


def logits(*probabilities):
    return np.log(np.array(probabilities, np.float32))


def test_an_ensemble_averages_probabilities():
    # The first network is surer: (0.9 + 0.4) / 2 > 0.5 although the second prefers the other class.
    one = logits((0.9, 0.1), (0.4, 0.6), (0.2, 0.8))
    other = logits((0.4, 0.6), (0.45, 0.55), (0.9, 0.1))
    assert ensemble_accuracy(np.array([0, 1, 1]), [one, other]) == pytest.approx(2 / 3)
    assert ensemble_accuracy(np.array([0, 1, 0]), [one, other]) == 1.0


def test_seeds_disagree_where_any_differs():
    one = logits((0.9, 0.1), (0.4, 0.6), (0.2, 0.8), (0.2, 0.8))
    two = logits((0.6, 0.4), (0.6, 0.4), (0.3, 0.7), (0.4, 0.6))
    three = logits((0.6, 0.4), (0.6, 0.4), (0.3, 0.7), (0.8, 0.2))
    assert disagreement([one, two]) == 0.25
    assert disagreement([one, two, three]) == 0.5
    assert disagreement([one]) == 0


def test_calibration_error_weighs_the_gap_of_each_bin():
    # Two images in the bin (9/15, 10/15] with confidences 0.61 and 0.65, one correct: |0.5 - 0.63| = 0.13.
    # Two in (13/15, 14/15] with 0.9, both correct: |1 - 0.9| = 0.1.
    outputs = logits((0.61, 0.39), (0.35, 0.65), (0.9, 0.1), (0.1, 0.9))
    labels = np.array([0, 0, 0, 1])
    assert calibration_error(labels, outputs) == pytest.approx(0.5 * 0.13 + 0.5 * 0.1, abs=1e-6)


def test_certain_and_right_is_perfectly_calibrated():
    assert calibration_error(np.array([0, 1]), np.array([[1e30, 0], [0, 1e30]])) == 0


def test_top_k_counts_labels_among_the_highest():
    outputs = np.array([[5.0, 4, 3, 2, 1, 0], [0, 1, 2, 3, 4, 5], [0, 5, 5, 5, 5, 5]])
    assert top_k_accuracy(np.array([4, 5, 0]), outputs, 5) == pytest.approx(2 / 3)
    assert top_k_accuracy(np.array([5, 0, 1]), outputs, 5) == pytest.approx(1 / 3)


def test_of_equal_logits_the_lower_class_comes_first_as_in_argmax():
    outputs = np.zeros((3, 6))
    assert top_k_accuracy(np.array([0, 4, 5]), outputs, 5) == pytest.approx(2 / 3)
    labels = np.array([0, 1, 2])
    assert top_k_accuracy(labels, outputs, 1) == np.mean(outputs.argmax(1) == labels)


def test_chunks_do_not_change_the_numbers():
    rng = np.random.default_rng(0)
    outputs, labels = rng.standard_normal((20_000, 4)), rng.integers(0, 4, 20_000)
    assert top_k_accuracy(labels, outputs, 1) == np.mean(outputs.argmax(1) == labels)
    assert ensemble_accuracy(labels, [outputs, outputs]) == np.mean(outputs.argmax(1) == labels)
