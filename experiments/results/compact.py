"""Makes a run's records and predictions small enough to be kept beside the code."""

import io
import json
import math
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.report.predictions import Predictions

__all__ = ["MAX_METRICS_BYTES", "MAX_PREDICTIONS_BYTES", "compact_predictions", "thin_records"]

KIB = 1024
MAX_METRICS_BYTES = 200 * KIB
MAX_PREDICTIONS_BYTES = 100 * KIB
# Steps to which logits are rounded, the finest that fits, and how far below the highest they are kept: a
# probability of 6e-6.
ROUNDINGS = (1 / 64, 1 / 32, 1 / 16, 1 / 8)
LOWEST = -12.0
LONG_AGO = (1980, 1, 1, 0, 0, 0)  # The same predictions make the same bytes on any day.


def thin_records(
    records: Sequence[dict[str, Any]], limit: int = MAX_METRICS_BYTES
) -> tuple[list[dict[str, Any]], int]:
    """Leaves out training records until the lines of ``metrics.jsonl`` fit.

    Args:
        records: All records of a run, in order.
        limit: Size in bytes.

    Returns:
        All records but those of training, and every k-th of those and the last; and k, which is 1 where all
        fit.
    """
    training = sum(_size(record) for record in records if record["kind"] == "train")
    others = sum(_size(record) for record in records if record["kind"] != "train")
    if training + others <= limit:
        return list(records), 1
    every = math.ceil(training / max(limit - others, limit / 4))  # a quarter, whatever else there is
    count = sum(record["kind"] == "train" for record in records)
    kept, seen = [], 0
    for record in records:
        seen += record["kind"] == "train"
        if record["kind"] != "train" or seen % every == 0 or seen == count:
            kept.append(record)
    return kept, every


def compact_predictions(
    predictions: Predictions, limit: int = MAX_PREDICTIONS_BYTES
) -> tuple[bytes, float] | None:
    """A small ``predictions.npz``: logits relative to each image's highest, rounded, compressed.

    The predicted class of every image stays the same; probabilities change by a few percent of themselves at
    most, which moves means over a test set by far less.

    Returns:
        The file, and the step to which logits are rounded; None where it does not fit.
    """
    # Relative to the highest, all that softmax and argmax depend on.
    relative = predictions.logits - predictions.logits.max(1, keepdims=True)
    kind = np.uint8 if predictions.logits.shape[1] <= 256 else np.uint16
    for step in ROUNDINGS:
        rounded = np.round(np.maximum(relative, LOWEST) / step) * step
        rounded[(relative < 0) & (rounded == 0)] = -step  # only the highest stay the highest
        # One class after another: like numbers side by side compress better.
        logits = np.asfortranarray(rounded.astype(np.float16))
        content = _archive(labels=predictions.labels.astype(kind), logits_best=logits)
        if len(content) <= limit:
            return content, step
    return None


def _size(record: dict[str, Any]) -> int:
    return len(json.dumps(record)) + 1


def _archive(**arrays: np.ndarray) -> bytes:
    """An ``.npz`` compressed by bzip2, which beats NumPy's deflate by a fifth here."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, array in arrays.items():
            part = io.BytesIO()
            np.save(part, array)
            entry = zipfile.ZipInfo(f"{name}.npy", LONG_AGO)
            archive.writestr(entry, part.getvalue(), zipfile.ZIP_BZIP2)
    return content.getvalue()
