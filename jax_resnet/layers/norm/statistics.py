"""The devices over which a batch extends, in programs that are written for one of them."""

import contextlib
from collections.abc import Iterator

import jax

__all__ = ["batch_axis_name", "batch_statistics_over"]

# A user context is part of the key of every jit cache, and local to its thread.
_axis_name = jax.make_user_context(default_value=None)


@contextlib.contextmanager
def batch_statistics_over(axis_name: str | None) -> Iterator[None]:
    """Within this context batch normalization takes its statistics over a mapped axis, too.

    This is for the body of a ``shard_map`` (``check_vma=False``) or ``pmap``: each device sees its part of
    the batch there, and would normalize by that alone. The context takes effect when a layer is traced.
    Under ``jit`` over a mesh nothing is needed: a layer sees the whole batch.

    Args:
        axis_name: Name of the axis; each device along it has an equal part of the batch. None: each device
            normalizes by its own part.
    """
    with _axis_name(axis_name):
        yield


def batch_axis_name() -> str | None:
    """Returns the name given to ``batch_statistics_over``; None outside of it."""
    name: str | None = _axis_name.value
    return name
