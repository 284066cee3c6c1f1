"""Confusion matrices."""

import numpy as np

__all__ = ["confusion_matrix"]


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts examples by true and predicted class.

    Args:
        labels: int, ``(examples,)``, in ``0..num_classes-1``.
        predictions: int, ``(examples,)``, in ``0..num_classes-1``.
        num_classes: Number of classes.

    Returns:
        int64, ``(num_classes, num_classes)``: rows are true classes, columns predictions.

    Raises:
        ValueError: A class is out of range, or the lengths differ.
    """
    for name, classes in (("labels", labels), ("predictions", predictions)):
        if classes.size and not 0 <= classes.min() <= classes.max() < num_classes:
            raise ValueError(f"{name} are in {classes.min()}..{classes.max()}, not 0..{num_classes - 1}")
    pairs = labels.astype(np.int64) * num_classes + predictions
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes).astype(np.int64)
