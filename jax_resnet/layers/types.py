"""Questions about the types of arrays that primitives of our own must ask."""

from collections.abc import Sequence

import jax
from jax import lax
from jax.sharding import AxisType


def is_explicitly_sharded(*arrays: jax.Array) -> bool:
    """Returns whether shardings are part of the types, for which lax has rules and we have none."""
    return any(AxisType.Explicit in jax.typeof(array).sharding.mesh.axis_types for array in arrays)


def same_manual_axes(*arrays: jax.Array) -> Sequence[jax.Array]:
    """Marks all arrays as varying over those axes of a ``shard_map`` over which one of them does."""
    varying = [jax.typeof(array).manual_axis_type.varying for array in arrays]
    union = frozenset().union(*varying)
    return [
        lax.pcast(array, tuple(union - axes), to="varying") if union - axes else array
        for array, axes in zip(arrays, varying, strict=True)
    ]
