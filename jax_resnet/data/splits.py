"""A validation split held out of the training split."""

from typing import TypeVar

import numpy as np

from jax_resnet.data.dataset import Split
from jax_resnet.errors import ValSizeError

__all__ = ["hold_out"]

SplitT = TypeVar("SplitT", bound=Split)


def hold_out(split: SplitT, size: int, seed: int) -> tuple[SplitT, SplitT]:
    """Divides a split at random into ``(rest, held_out)``, with equally many held out of every class.

    Where ``size`` is not a multiple of the number of classes, some classes give one example more. Where the
    labels are not known without reading all images, the examples are drawn regardless of class.

    Args:
        split: The data.
        size: Number of examples to hold out, 1 or more.
        seed: Seed of the choice; equal seeds choose equally.

    Raises:
        ValSizeError: A class has too few examples, or nothing would be left to train on.
    """
    if size < 1:
        raise ValSizeError(f"a validation set holds at least 1 image, not {size}", size=size)
    if not len(split):
        raise ValSizeError("a validation set cannot be held out of 0 images", size=size)
    rng = np.random.default_rng([seed, 1])
    labels = split.labels
    if labels is None:
        labels = np.zeros(len(split), np.int32)
    counts: np.ndarray = np.bincount(labels)
    classes, smallest = len(counts), int(counts.min())
    if not smallest:
        empty = np.flatnonzero(counts == 0)[0]
        raise ValSizeError(
            f"a validation set takes its images from every class, and class {empty} has no training image: "
            "renumber the classes without it, or hold nothing out",
            size=size,
        )
    sizes = np.full(classes, size // classes)
    sizes[rng.permutation(classes)[: size % classes]] += 1
    if len(short := np.flatnonzero(sizes >= counts)):
        most = classes * (smallest - 1)
        advice = f"hold out at most {most}" if most else "hold nothing out, or drop classes of one example"
        raise ValSizeError(
            f"a validation set of {size} takes {sizes[short[0]]} of the {counts[short[0]]} examples of class "
            f"{short[0]}: {advice}",
            size=size,
        )
    held_out = [
        rng.choice(np.flatnonzero(labels == label), count, replace=False) for label, count in enumerate(sizes)
    ]
    chosen = np.zeros(len(split), bool)
    chosen[np.concatenate(held_out)] = True
    return split.take(~chosen), split.take(chosen)
