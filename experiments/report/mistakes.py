"""Which classes a network confuses, and its most confident mistakes, as images."""

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from experiments.report.predictions import Predictions

__all__ = [
    "Confusion",
    "Mistake",
    "confident_mistakes",
    "confusion_image",
    "data_uri",
    "frequent_confusions",
    "thumbnail",
]

MAX_SHOWN = 12  # mistakes, and confused pairs
MAX_SIDE = 160  # pixels of a thumbnail's longer side


class Mistake(NamedTuple):
    """An image that the network classified wrongly.

    Attributes:
        true: Its class.
        predicted: The class that the network predicted.
        probability: The network's probability of that class.
        image: Its number in the test set.
    """

    true: str
    predicted: str
    probability: float
    image: int


class Confusion(NamedTuple):
    """Images of one class that were classified as another.

    Attributes:
        true: Their class.
        predicted: The class that the network predicted.
        images: Number of images.
        fraction: Fraction of the images of their class.
    """

    true: str
    predicted: str
    images: int
    fraction: float


def frequent_confusions(counts: np.ndarray, names: Sequence[str]) -> list[Confusion]:
    """The most frequent confusions, most frequent first.

    Args:
        counts: A confusion matrix, ``(classes, classes)``, rows are true classes.
        names: The classes.
    """
    wrong = np.where(np.eye(len(counts), dtype=bool), 0, counts)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MAX_SHOWN]
    pairs = zip(*(axis.tolist() for axis in np.unravel_index(order, wrong.shape)), strict=True)
    return [
        Confusion(
            names[row], names[column], int(wrong[row, column]), float(wrong[row, column] / counts[row].sum())
        )
        for row, column in pairs
        if wrong[row, column]
    ]


def confident_mistakes(predictions: Predictions, names: Sequence[str]) -> list[Mistake]:
    """The wrong predictions of highest probability, highest first."""
    predicted = predictions.logits.argmax(1)
    wrong = np.flatnonzero(predicted != predictions.labels)
    logits = predictions.logits[wrong].astype(np.float64)
    probability = 1 / np.exp(logits - logits.max(1, keepdims=True)).sum(1)
    chosen = np.argsort(-probability, kind="stable")[:MAX_SHOWN]
    return [
        Mistake(names[predictions.labels[i]], names[predicted[i]], float(probability[place]), int(i))
        for place, i in zip(chosen, wrong[chosen], strict=True)
    ]


def thumbnail(image: np.ndarray) -> Image.Image:
    """A uint8 image ``(height, width, channels)``, gray or in color, of at most ``MAX_SIDE`` pixels."""
    shown = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    shown.thumbnail((MAX_SIDE, MAX_SIDE))
    return shown


def confusion_image(counts: np.ndarray) -> Image.Image:
    """A confusion matrix as an image of a pixel per cell: blue for correct, orange for wrong.

    Empty cells are transparent, to suit any background. Opacity is the square root of the fraction of the
    true class, so that a single mistake can be seen.
    """
    fractions = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    pixels = np.zeros((*counts.shape, 4), np.uint8)
    pixels[..., :3] = (230, 110, 0)
    pixels[np.eye(len(counts), dtype=bool), :3] = (40, 130, 210)
    pixels[..., 3] = np.round(255 * np.sqrt(fractions))
    return Image.fromarray(pixels)


def data_uri(image: Image.Image) -> str:
    """The image as a PNG inside a URI."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
