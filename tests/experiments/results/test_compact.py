"""What is kept of records and predictions when they are large."""

import io
import json

import numpy as np
import pytest

from experiments.report.predictions import Predictions, read_predictions
from experiments.report.quality import calibration_error, ensemble_accuracy
from experiments.results.compact import MAX_PREDICTIONS_BYTES, compact_predictions, thin_records
from tests.helpers.run_folders import record


def predictions(images=10_000, classes=10, seed=0):
    """Outputs like those of a network that is right on nine images of ten."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, images)
    logits = 1.5 * rng.standard_normal((images, classes)) + 5 * np.eye(classes)[labels]
    logits *= rng.gamma(4, 0.3, (images, 1))
    return Predictions(labels, logits.astype(np.float32))


def size(records):
    return sum(len(json.dumps(each)) + 1 for each in records)


def test_records_that_fit_stay_as_they_are():
    records = [record("train", step) for step in range(50)]
    assert thin_records(records) == (records, 1)


@pytest.mark.parametrize("count", [2000, 2001, 5003])
def test_of_many_training_records_every_kth_and_the_last_are_kept(count):
    records = []
    for step in range(1, count + 1):
        records += [record("train", step)] + [record("val", step)] * (step % 100 == 0)
    records.append(record("test", count, which="last"))
    limit = 50_000
    kept, every = thin_records(records, limit)
    assert every > 1
    assert size(kept) <= limit + 200
    assert [r for r in kept if r["kind"] != "train"] == [r for r in records if r["kind"] != "train"]
    training = [r["step"] for r in kept if r["kind"] == "train"]
    assert training == [*range(every, count, every), count]


def test_validations_are_kept_even_where_they_alone_are_too_large():
    records = [record("val", step) for step in range(100)] + [record("train", step) for step in range(100)]
    kept, _ = thin_records(records, limit=1000)
    assert kept[:100] == records[:100]
    assert kept[-1] == records[-1]


def test_compact_predictions_fit_and_answer_alike(tmp_path):
    original = predictions()
    content, step = compact_predictions(original)
    assert len(content) <= MAX_PREDICTIONS_BYTES < original.logits.nbytes / 3
    (tmp_path / "predictions.npz").write_bytes(content)
    compact = read_predictions(tmp_path / "predictions.npz")
    assert np.array_equal(compact.labels, original.labels)
    assert np.array_equal(compact.logits.argmax(1), original.logits.argmax(1))
    # The same numbers to a hundredth of a percent or two.
    assert calibration_error(*compact) == pytest.approx(calibration_error(*original), abs=1e-3)
    other = predictions(seed=1).logits
    assert ensemble_accuracy(original.labels, [compact.logits, other]) == pytest.approx(
        ensemble_accuracy(original.labels, [original.logits, other]), abs=1e-3
    )
    relative = np.maximum(original.logits - original.logits.max(1, keepdims=True), -12)
    assert np.abs(compact.logits - relative).max() <= step
    assert np.load(io.BytesIO(content)).files == ["labels", "logits_best"]


def test_near_ties_are_decided_as_before():
    logits = np.array([[1.0, 1.0001, 0], [2, 2, 1], [0, 5e-9, 5e-9]], np.float32)
    content, _ = compact_predictions(Predictions(np.zeros(3, np.int64), logits))
    found = np.load(io.BytesIO(content))["logits_best"]
    assert found.argmax(1).tolist() == logits.argmax(1).tolist()
    assert found[1, 0] == found[1, 1] == 0


def test_the_same_predictions_make_the_same_bytes():
    assert compact_predictions(predictions(100)) == compact_predictions(predictions(100))


def test_what_is_too_large_is_left_out():
    assert compact_predictions(predictions(10_000, classes=100)) is None


def test_labels_of_more_than_256_classes_are_kept():
    original = Predictions(np.array([299, 0]), np.eye(300, dtype=np.float32)[[299, 5]])
    content, _ = compact_predictions(original)
    assert np.load(io.BytesIO(content))["labels"].tolist() == [299, 0]
