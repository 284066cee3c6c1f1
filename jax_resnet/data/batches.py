"""Batches of a split: shuffled and endless for training, whole and in order for evaluation.

Several processes that train together share each batch. ``shard=(index, count)`` gives process ``index`` of
``count`` its rows of the global batch, ``[index * local, (index + 1) * local)``: all agree on the order, and
what each yields, put together, is what one process alone would have seen.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import numpy as np

from jax_resnet.data.dataset import Split

if TYPE_CHECKING:
    from jax_resnet.data.streaming.split import StreamedSplit

Shard = tuple[int, int]
WHOLE: Shard = (0, 1)
Batches = Generator[dict[str, np.ndarray], None, None]


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


def rows_of(batch_size: int, shard: Shard) -> slice:
    """The rows of a global batch that a process holds.

    Raises:
        ValueError: The batch cannot be shared out equally.
    """
    index, count = shard
    local, rest = divmod(batch_size, count)
    if rest:
        raise ValueError(f"a batch of {batch_size} cannot be shared equally by {count} processes")
    return slice(index * local, (index + 1) * local)


def train_batches(
    split: Split | StreamedSplit, batch_size: int, *, seed: int, start: int = 0, shard: Shard = WHOLE
) -> Batches:
    """Endless shuffled batches ``{"image", "label", "index"}``, from step ``start`` on.

    A batch is a function of seed and step: what would have come next comes, wherever a run was stopped and
    however many processes it is resumed with.

    Args:
        split: The examples.
        batch_size: Of the global batch.
        seed: Of the order.
        start: Step of the first batch.
        shard: Which rows of every batch to yield; all of them by default.

    Raises:
        ValueError: Not even one batch is full, or it cannot be shared equally.
    """
    if not isinstance(split, Split):
        yield from split.train_batches(batch_size, seed=seed, start=start, shard=shard)
        return
    n = len(split)
    per_epoch = steps_per_epoch(n, batch_size)
    rows = rows_of(batch_size, shard)
    step, order = start, None
    while True:
        epoch, position = divmod(step, per_epoch)
        if order is None or position == 0:
            order = epoch_order(n, seed, epoch)
        index = order[position * batch_size : (position + 1) * batch_size][rows]
        yield {
            "image": split.images[index],
            "label": split.labels[index],
            "index": index.astype(np.int32),
        }
        step += 1


def eval_batches(split: Split | StreamedSplit, batch_size: int, *, shard: Shard = WHOLE) -> Batches:
    """Every example once, in order: ``{"image", "label", "index", "mask"}``, all batches of one size.

    The last is padded with copies of the first example, which ``mask`` marks false: every process gets as
    many batches of as many rows, some perhaps of padding alone.

    Args:
        split: The examples.
        batch_size: Of the global batch.
        shard: Which rows of every batch to yield; all of them by default.

    Raises:
        ValueError: A batch cannot be shared equally.
    """
    if not isinstance(split, Split):
        yield from split.eval_batches(batch_size, shard=shard)
        return
    n = len(split)
    rows = rows_of(batch_size, shard)
    for start in range(0, n, batch_size):
        index = np.arange(start, start + batch_size)[rows]
        mask = index < n
        index = np.where(mask, index, 0)
        yield {
            "image": split.images[index],
            "label": split.labels[index],
            "index": index.astype(np.int32),
            "mask": mask,
        }
