"""Over how many devices a batch extends, where a program is written for one of them."""

import contextlib
from collections.abc import Iterator

import jax

# A user context is part of the key of every jit cache, and local to its thread.
_axis_name = jax.make_user_context(default_value=None)


@contextlib.contextmanager
def batch_statistics_over(axis_name: str | None) -> Iterator[None]:
    """Within this context batch normalization takes its statistics over a mapped axis as well.

    For the body of a ``shard_map`` (``check_vma=False``) or ``pmap``, in which each device sees its part of
    the batch and would normalize by that alone. What counts is the context in which a layer is traced.
    Under ``jit`` over a mesh nothing is needed: there a layer sees the whole batch.

    Args:
        axis_name: The axis, over which the batch is shared equally; None for each device on its own.
    """
    with _axis_name(axis_name):
        yield


def batch_axis_name() -> str | None:
    """Returns the axis over which statistics are to be taken here; None for no other than the array's own."""
    name: str | None = _axis_name.value
    return name
