"""What a network mistook for what, and its most confident mistakes as pictures."""

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from experiments.report.runs import Predictions

SHOWN = 12  # pictures of mistakes, and confused pairs
LARGEST = 160  # pixels of a picture's longer side


class Mistake(NamedTuple):
    """An image that was taken for something else.

    Attributes:
        true: Its class.
        predicted: What it was taken for.
        probability: How sure the network was.
        image: Its number in the test set.
    """

    true: str
    predicted: str
    probability: float
    image: int


class Pair(NamedTuple):
    """A confusion: so many images of one class, and this share of them, were taken for another."""

    true: str
    predicted: str
    images: int
    share: float


def confusion(predictions: Predictions) -> np.ndarray:
    """Counts, int ``(classes, classes)``: rows the truth, columns the prediction."""
    classes = predictions.logits.shape[1]
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (predictions.labels, predictions.logits.argmax(1)), 1)
    return counts


def confused(counts: np.ndarray, names: Sequence[str]) -> list[Pair]:
    """The most frequent confusions, most frequent first."""
    off = np.where(np.eye(len(counts), dtype=bool), 0, counts)
    order = np.argsort(-off, axis=None, kind="stable")[:SHOWN]
    pairs = [(int(row), int(column)) for row, column in zip(*np.unravel_index(order, off.shape), strict=True)]
    return [
        Pair(names[row], names[column], int(off[row, column]), float(off[row, column] / counts[row].sum()))
        for row, column in pairs
        if off[row, column]
    ]


def confident_mistakes(predictions: Predictions, names: Sequence[str]) -> list[Mistake]:
    """The wrong answers that the network was surest of, surest first."""
    logits = predictions.logits.astype(np.float64)
    answers = logits.argmax(1)
    sure = 1 / np.exp(logits - logits.max(1, keepdims=True)).sum(1)
    wrong = np.flatnonzero(answers != predictions.labels)
    chosen = wrong[np.argsort(-sure[wrong], kind="stable")][:SHOWN]
    return [Mistake(names[predictions.labels[i]], names[answers[i]], float(sure[i]), int(i)) for i in chosen]


def picture(image: np.ndarray) -> Image.Image:
    """A uint8 image ``(height, width, channels)``, gray or in color, at most ``LARGEST`` wide and high."""
    drawn = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    drawn.thumbnail((LARGEST, LARGEST))
    return drawn


def heat_map(counts: np.ndarray) -> Image.Image:
    """The confusion of many classes, a pixel each: blue what is right, orange what is mistaken.

    Transparent where there is nothing, so that it goes with any background. The square root of the share
    is what is drawn, so that a single mistake can be seen.
    """
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    pixels = np.zeros((*counts.shape, 4), np.uint8)
    pixels[..., :3] = (230, 110, 0)
    pixels[np.eye(len(counts), dtype=bool), :3] = (40, 130, 210)
    pixels[..., 3] = np.round(255 * np.sqrt(share))
    return Image.fromarray(pixels)


def data_uri(image: Image.Image) -> str:
    """A PNG that stands in the page itself."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
