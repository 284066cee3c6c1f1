"""The order of training examples, and each process's rows of a batch.

Several processes that train together share each batch. ``shard=(index, count)`` gives process ``index`` of
``count`` its rows of the global batch, ``[index * local, (index + 1) * local)``. All processes agree on the
order, so their rows, put together, are the batch that one process alone would have seen.
"""

from collections.abc import Generator

import numpy as np

from jax_resnet.errors import BatchSizeError

__all__ = ["WHOLE", "Batches", "Shard", "epoch_order", "rows_of", "steps_per_epoch"]

Shard = tuple[int, int]
"""``(index, count)``: process ``index`` of ``count`` processes."""

WHOLE: Shard = (0, 1)
"""The shard of a process that trains alone: every row."""

Batches = Generator[dict[str, np.ndarray], None, None]
"""Batches, each a dictionary of arrays by name. Close the generator to free what it holds."""


def epoch_order(size: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation of ``range(size)`` that depends on seed and epoch alone, int64 ``(size,)``."""
    return np.random.default_rng([seed, 0, epoch]).permutation(size)


def steps_per_epoch(size: int, batch_size: int) -> int:
    """Number of full batches in one epoch; the examples left over differ from epoch to epoch.

    Raises:
        BatchSizeError: Not even one batch is full.
    """
    if not 1 <= batch_size <= size:
        raise BatchSizeError(
            f"a batch holds 1 to {size}, the number of training images, not {batch_size}",
            batch_size=batch_size,
        )
    return size // batch_size


def rows_of(batch_size: int, shard: Shard) -> slice:
    """The rows of a global batch that a process holds.

    Raises:
        BatchSizeError: The batch is empty or cannot be divided equally among the processes.
    """
    index, count = shard
    if batch_size < 1:
        raise BatchSizeError(f"a batch holds at least 1 image, not {batch_size}", batch_size=batch_size)
    local, rest = divmod(batch_size, count)
    if rest:
        raise BatchSizeError(
            f"a batch of {batch_size} cannot be shared equally by {count} processes", batch_size=batch_size
        )
    return slice(index * local, (index + 1) * local)
