"""What the predictions of several seeds say without training: ensembles, disagreement, calibration, top-5."""

from collections.abc import Iterator, Sequence

import numpy as np

__all__ = ["calibration_error", "disagreement", "ensemble_accuracy", "top_k_accuracy"]

ROWS_AT_ONCE = 8192  # of images, to bound memory
BINS = 15


def ensemble_accuracy(labels: np.ndarray, logits: Sequence[np.ndarray]) -> float:
    """Accuracy of the mean of several networks' probabilities.

    Args:
        labels: int, ``(images,)``.
        logits: One array ``(images, classes)`` per network.
    """
    right = 0
    for rows in _chunks(len(labels)):
        mean = np.mean([_probabilities(network[rows]) for network in logits], axis=0)
        right += int(np.sum(mean.argmax(1) == labels[rows]))
    return right / len(labels)


def disagreement(logits: Sequence[np.ndarray]) -> float:
    """The fraction of images that not all networks predict alike."""
    answers = np.stack([network.argmax(1) for network in logits])
    return float(np.mean(np.any(answers != answers[0], axis=0)))


def calibration_error(labels: np.ndarray, logits: np.ndarray) -> float:
    """Expected calibration error (Guo et al. 2017, section 2) over 15 bins of equal width.

    The mean over images of ``|accuracy - confidence|`` of the image's bin; an image's confidence is the
    probability of its predicted class, and bin ``i`` is ``(i / 15, (i + 1) / 15]``.

    Args:
        labels: int, ``(images,)``.
        logits: float, ``(images, classes)``.
    """
    confidence = np.concatenate([_probabilities(logits[rows]).max(1) for rows in _chunks(len(labels))])
    right = logits.argmax(1) == labels
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    gaps = np.bincount(bins, right - confidence, minlength=BINS)
    return float(np.abs(gaps).sum() / len(labels))


def top_k_accuracy(labels: np.ndarray, logits: np.ndarray, k: int) -> float:
    """The fraction of images whose label is among the ``k`` classes of highest logits.

    Of equal logits those of lower classes count as higher, as ``argmax`` has it.
    """
    right = 0
    for rows in _chunks(len(labels)):
        part, classes = logits[rows], labels[rows, None]
        own = np.take_along_axis(part, classes, axis=1)
        before = np.arange(part.shape[1]) < classes
        rank = np.sum((part > own) | ((part == own) & before), axis=1)
        right += int(np.sum(rank < k))
    return right / len(labels)


def _chunks(images: int) -> Iterator[slice]:
    return (slice(start, start + ROWS_AT_ONCE) for start in range(0, images, ROWS_AT_ONCE))


def _probabilities(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    probabilities: np.ndarray = powers / powers.sum(1, keepdims=True)
    return probabilities
