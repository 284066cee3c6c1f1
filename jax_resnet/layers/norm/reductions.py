"""Two sums over the pixels in one pass over memory, and their transpose.

Batch normalization needs sums in pairs: of values and squares in the forward pass, of gradients and of
gradients times values in the backward pass. On CPU XLA reads memory once for each, and first writes down
what is to be summed. A pair of linear primitives, each the transpose of the other, does both in one pass
whichever way JAX differentiates.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jax_resnet.layers.interpreters import PROBLEM, ad, define_primitive, mlir
from jax_resnet.layers.sharding import is_explicitly_sharded, same_manual_axes

__all__ = ["Pair", "pair_broadcast", "pair_broadcast_p", "pair_sum", "pair_sum_p"]

Pair = Sequence[jax.Array]


def pair_sum(a: jax.Array, b: jax.Array) -> Pair:
    """Returns the sums of two arrays ``(..., channels)`` of one shape and dtype over all other axes."""
    axes = tuple(range(a.ndim - 1))
    if PROBLEM is not None or is_explicitly_sharded(a, b):
        return _sum(a, b, axes=axes)
    return pair_sum_p.bind(*same_manual_axes(a, b), axes=axes)


def pair_broadcast(a: jax.Array, b: jax.Array, like: jax.Array) -> Pair:
    """Returns two arrays ``(channels,)`` broadcast to the shape ``(..., channels)`` of a third."""
    axes = tuple(range(like.ndim - 1))
    if PROBLEM is not None or is_explicitly_sharded(a, b, like):
        return [jnp.zeros_like(like, a.dtype) + jnp.expand_dims(v, axes) for v in (a, b)]
    return pair_broadcast_p.bind(*same_manual_axes(a, b), shape=like.shape, axes=axes)


def _sum(a: jax.Array, b: jax.Array, *, axes: tuple[int, ...]) -> Pair:
    return [jnp.sum(a, axes), jnp.sum(b, axes)]


def _sum_in_one_pass(a: jax.Array, b: jax.Array, *, axes: tuple[int, ...]) -> Pair:
    if len(axes) < 2:
        return _sum(a, b, axes=axes)
    # XLA reduces one axis in the middle of an array fast, and several at once slowly. The first axis, the
    # batch, is left to the end: it may be spread over devices.
    zero = np.zeros((), a.dtype)
    rows = lax.reduce((a, b), (zero, zero), lambda x, y: (x[0] + y[0], x[1] + y[1]), (axes[1],))
    others = tuple(axis - (axis > axes[1]) for axis in axes if axis != axes[1])
    return _sum(*rows, axes=others)


def _broadcast(a: jax.Array, b: jax.Array, *, shape: tuple[int, ...], axes: tuple[int, ...]) -> Pair:
    return [jnp.broadcast_to(jnp.expand_dims(v, axes), shape) for v in (a, b)]


def _sum_abstract(a: Any, b: Any, *, axes: tuple[int, ...]) -> list[Any]:
    shape = tuple(size for axis, size in enumerate(a.shape) if axis not in axes)
    return [v.update(shape=shape, weak_type=False) for v in (a, b)]


def _broadcast_abstract(a: Any, b: Any, *, shape: tuple[int, ...], axes: tuple[int, ...]) -> list[Any]:
    return [v.update(shape=shape, weak_type=False) for v in (a, b)]


def _sum_transpose(cts: Sequence[Any], a: Any, b: Any, *, axes: tuple[int, ...]) -> list[Any]:
    shape = (a.aval if ad.is_undefined_primal(a) else a).shape
    gradients = pair_broadcast_p.bind(*map(ad.instantiate_zeros, cts), shape=shape, axes=axes)
    return _for_unknowns(gradients, a, b)


def _broadcast_transpose(
    cts: Sequence[Any], a: Any, b: Any, *, shape: tuple[int, ...], axes: tuple[int, ...]
) -> list[Any]:
    return _for_unknowns(pair_sum_p.bind(*map(ad.instantiate_zeros, cts), axes=axes), a, b)


def _for_unknowns(gradients: Pair, a: Any, b: Any) -> list[Any]:
    return [g if ad.is_undefined_primal(v) else None for g, v in zip(gradients, (a, b), strict=True)]


def _batch_to_front(args: Pair, dims: Sequence[int | None]) -> list[jax.Array]:
    (size,) = {v.shape[dim] for v, dim in zip(args, dims, strict=True) if dim is not None}
    return [
        jnp.broadcast_to(v, (size, *v.shape)) if dim is None else jnp.moveaxis(v, dim, 0)
        for v, dim in zip(args, dims, strict=True)
    ]


def _sum_batch(args: Pair, dims: Sequence[int | None], *, axes: tuple[int, ...]) -> tuple[Pair, Any]:
    a, b = _batch_to_front(args, dims)
    return pair_sum_p.bind(a, b, axes=tuple(axis + 1 for axis in axes)), (0, 0)


def _broadcast_batch(
    args: Pair, dims: Sequence[int | None], *, shape: tuple[int, ...], axes: tuple[int, ...]
) -> tuple[Pair, Any]:
    a, b = _batch_to_front(args, dims)
    shape = (a.shape[0], *shape)
    return pair_broadcast_p.bind(a, b, shape=shape, axes=tuple(axis + 1 for axis in axes)), (0, 0)


def _lower_sum_cpu(ctx: Any, a: Any, b: Any, *, axes: tuple[int, ...]) -> Any:
    return mlir.lower_fun(_sum_in_one_pass, multiple_results=True)(ctx, a, b, axes=axes)


pair_sum_p = define_primitive(
    "jax_resnet_pair_sum",
    multiple_results=True,
    evaluate=jax.jit(_sum, static_argnames="axes"),
    abstract=_sum_abstract,
    batch=_sum_batch,
    plain=_sum,
    lower_cpu=_lower_sum_cpu,
)
pair_broadcast_p = define_primitive(
    "jax_resnet_pair_broadcast",
    multiple_results=True,
    evaluate=jax.jit(_broadcast, static_argnames=("shape", "axes")),
    abstract=_broadcast_abstract,
    batch=_broadcast_batch,
    plain=_broadcast,
)
if PROBLEM is None:
    ad.deflinear2(pair_sum_p, _sum_transpose)
    ad.deflinear2(pair_broadcast_p, _broadcast_transpose)
