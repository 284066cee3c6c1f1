"""Batches of a split: shuffled and endless for training, whole and in order for evaluation."""

from collections.abc import Iterator

import numpy as np

from jax_resnet.data.dataset import Split


def epoch_order(size: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation of ``range(size)`` that depends on seed and epoch alone, int64."""
    return np.random.default_rng([seed, 0, epoch]).permutation(size)


def steps_per_epoch(size: int, batch_size: int) -> int:
    """Full batches in one pass; the examples left over change from epoch to epoch.

    Raises:
        ValueError: Not even one batch is full.
    """
    if not 1 <= batch_size <= size:
        raise ValueError(f"a batch holds 1 to {size}, the number of training images, not {batch_size}")
    return size // batch_size


def train_batches(
    split: Split, batch_size: int, *, seed: int, start: int = 0
) -> Iterator[dict[str, np.ndarray]]:
    """Endless shuffled batches ``{"image", "label", "index"}``, from step ``start`` on.

    A batch is a function of seed and step: what would have come next comes, wherever a run was stopped.
    """
    n = len(split.labels)
    per_epoch = steps_per_epoch(n, batch_size)
    step, order = start, None
    while True:
        epoch, position = divmod(step, per_epoch)
        if order is None or position == 0:
            order = epoch_order(n, seed, epoch)
        index = order[position * batch_size : (position + 1) * batch_size]
        yield {
            "image": split.images[index],
            "label": split.labels[index],
            "index": index.astype(np.int32),
        }
        step += 1


def eval_batches(split: Split, batch_size: int) -> Iterator[dict[str, np.ndarray]]:
    """Every example once, in order: ``{"image", "label", "index", "mask"}``, all batches of one size.

    The last is padded with copies of the first example, which ``mask`` marks false.
    """
    n = len(split.labels)
    for start in range(0, n, batch_size):
        index = np.arange(start, start + batch_size)
        mask = index < n
        index = np.where(mask, index, 0)
        yield {
            "image": split.images[index],
            "label": split.labels[index],
            "index": index.astype(np.int32),
            "mask": mask,
        }
