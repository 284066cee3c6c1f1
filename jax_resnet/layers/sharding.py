"""How arrays are spread over devices, as far as our primitives need to know."""

from collections.abc import Sequence
from typing import Any

import jax
from jax import lax
from jax.sharding import AxisType

__all__ = ["is_explicitly_sharded", "same_manual_axes"]


def is_explicitly_sharded(*arrays: jax.Array) -> bool:
    """Returns whether shardings are part of the arrays' types; ``lax`` has rules for that, we have none."""
    return any(AxisType.Explicit in jax.typeof(array).sharding.mesh.axis_types for array in arrays)


def same_manual_axes(*arrays: jax.Array) -> Sequence[jax.Array]:
    """Marks all arrays as varying over every axis of a ``shard_map`` over which one of them varies."""
    varying = [_varying_axes(jax.typeof(array)) for array in arrays]
    union = frozenset().union(*varying)
    return [
        lax.pcast(array, tuple(union - axes), to="varying") if union - axes else array
        for array, axes in zip(arrays, varying, strict=True)
    ]


def _varying_axes(aval: Any) -> frozenset[str]:
    manual = getattr(aval, "manual_axis_type", None)  # A name that has changed between versions of JAX.
    return getattr(aval, "vma", frozenset()) if manual is None else manual.varying
