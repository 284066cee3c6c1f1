"""A validation set held out of the training data."""

import numpy as np

from jax_resnet.data.streaming.split import AnySplit


def hold_out(split: AnySplit, size: int, seed: int) -> tuple[AnySplit, AnySplit]:
    """Parts a split at random into ``(rest, held_out)``, the latter with every class as often as the next.

    Where ``size`` is no multiple of the number of classes, some classes give one example more. Where the
    labels are not known without reading everything, any examples are held out.

    Args:
        split: The data.
        size: Examples to hold out.
        seed: Equal seeds part equally.

    Raises:
        ValueError: A class has too few examples, or nothing would be left to train on.
    """
    rng = np.random.default_rng([seed, 1])
    labels = split.labels
    if labels is None:
        labels = np.zeros(len(split), np.int32)
    classes = int(labels.max()) + 1
    sizes = np.full(classes, size // classes)
    sizes[rng.permutation(classes)[: size % classes]] += 1
    held_out = []
    for label, count in enumerate(sizes):
        members = np.flatnonzero(labels == label)
        if count >= len(members):
            raise ValueError(
                f"a validation set of {size} takes {count} of the {len(members)} examples of class {label}: "
                f"hold out fewer than {classes * len(members)}"
            )
        held_out.append(rng.choice(members, count, replace=False))
    chosen = np.zeros(len(split), bool)
    chosen[np.concatenate(held_out)] = True
    return split.take(~chosen), split.take(chosen)
