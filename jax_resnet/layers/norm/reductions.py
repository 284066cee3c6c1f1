"""Two sums over the pixels in one pass over memory, and their transpose.

Batch normalization needs its sums in pairs: of values and squares on the way forward, of gradients
and of gradients times values on the way back. XLA reads memory once for each on CPU, and first
writes down what is to be summed. As a pair of linear primitives, each the transpose of the other,
both happen in one pass whichever way JAX differentiates.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jax_resnet.layers.types import is_explicitly_sharded, same_manual_axes

pair_sum_p = Primitive("jax_resnet_pair_sum")
pair_broadcast_p = Primitive("jax_resnet_pair_broadcast")
pair_sum_p.multiple_results = pair_broadcast_p.multiple_results = True

Pair = Sequence[jax.Array]


def pair_sum(a: jax.Array, b: jax.Array) -> Pair:
    """Returns the sums of two arrays ``(..., channels)`` of one shape and dtype over all but the channels."""
    axes = tuple(range(a.ndim - 1))
    if is_explicitly_sharded(a, b):
        return _sum(a, b, axes=axes)
    return pair_sum_p.bind(*same_manual_axes(a, b), axes=axes)


def pair_broadcast(a: jax.Array, b: jax.Array, like: jax.Array) -> Pair:
    """Returns two arrays ``(channels,)`` broadcast to the shape ``(..., channels)`` of a third."""
    axes = tuple(range(like.ndim - 1))
    if is_explicitly_sharded(a, b, like):
        return [jnp.zeros_like(like, a.dtype) + v for v in (a, b)]
    return pair_broadcast_p.bind(*same_manual_axes(a, b), shape=like.shape, axes=axes)


def _sum(a: jax.Array, b: jax.Array, *, axes: tuple[int, ...]) -> Pair:
    return [jnp.sum(a, axes), jnp.sum(b, axes)]


def _sum_in_one_pass(a: jax.Array, b: jax.Array, *, axes: tuple[int, ...]) -> Pair:
    if len(axes) < 2:
        return _sum(a, b, axes=axes)
    # XLA reduces an axis in the middle of the array well, several at once badly. Not the first one,
    # the batch: it may be distributed.
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


pair_sum_p.def_impl(jax.jit(_sum, static_argnames="axes"))
pair_broadcast_p.def_impl(jax.jit(_broadcast, static_argnames=("shape", "axes")))
pair_sum_p.def_abstract_eval(_sum_abstract)
pair_broadcast_p.def_abstract_eval(_broadcast_abstract)
ad.deflinear2(pair_sum_p, _sum_transpose)
ad.deflinear2(pair_broadcast_p, _broadcast_transpose)
batching.primitive_batchers[pair_sum_p] = _sum_batch
batching.primitive_batchers[pair_broadcast_p] = _broadcast_batch
mlir.register_lowering(pair_sum_p, mlir.lower_fun(_sum, multiple_results=True))
mlir.register_lowering(pair_sum_p, mlir.lower_fun(_sum_in_one_pass, multiple_results=True), platform="cpu")
mlir.register_lowering(pair_broadcast_p, mlir.lower_fun(_broadcast, multiple_results=True))
