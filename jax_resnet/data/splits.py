"""A validation set held out of the training data."""

import numpy as np

from jax_resnet.data.dataset import Split


def hold_out(split: Split, size: int, seed: int) -> tuple[Split, Split]:
    """Parts a split at random into ``(rest, held_out)``, the latter with every class as often as the next.

    Where ``size`` is no multiple of the number of classes, some classes give one example more.

    Args:
        split: The data.
        size: Examples to hold out.
        seed: Equal seeds part equally.

    Raises:
        ValueError: A class has too few examples, or nothing would be left to train on.
    """
    classes = int(split.labels.max()) + 1
    rng = np.random.default_rng([seed, 1])
    sizes = np.full(classes, size // classes)
    sizes[rng.permutation(classes)[: size % classes]] += 1
    held_out = []
    for label, count in enumerate(sizes):
        members = np.flatnonzero(split.labels == label)
        if count >= len(members):
            raise ValueError(
                f"a validation set of {size} takes {count} of the {len(members)} examples of class {label}: "
                f"hold out fewer than {classes * len(members)}"
            )
        held_out.append(rng.choice(members, count, replace=False))
    chosen = np.zeros(len(split.labels), bool)
    chosen[np.concatenate(held_out)] = True
    return (
        Split(split.images[~chosen], split.labels[~chosen]),
        Split(split.images[chosen], split.labels[chosen]),
    )
