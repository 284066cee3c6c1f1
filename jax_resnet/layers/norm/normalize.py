"""Batch normalization by the batch's own statistics, with residual and ReLU, as one operation."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jax_resnet.layers.norm.materialize import materialize
from jax_resnet.layers.norm.reductions import pair_broadcast, pair_sum

__all__ = ["affine", "batch_moments", "count", "normalize", "per_channel", "tangents_of"]


def per_channel(v: jax.Array, like: jax.Array) -> jax.Array:
    """Returns ``v (channels,)`` with the rank of ``like (..., channels)``: nothing here promotes ranks."""
    return v.reshape((1,) * (like.ndim - 1) + v.shape)


def batch_moments(x: jax.Array, axis_name: str | None = None) -> tuple[jax.Array, jax.Array]:
    """Returns the mean and the biased variance, each ``(channels,)``, of ``x (..., channels)`` in one pass.

    With ``axis_name`` they are those of the arrays of all devices along that axis, combined as Chan et al.
    (1979) do: the mean of the variances plus the variance of the means.

    The squares are summed about the mean of the first row of all images. It is at most ``sqrt(height)``
    standard deviations away from the mean of all pixels, so no more than log2(height) bits cancel,
    whatever the mean is: E[x^2] - E[x]^2 loses all of them at large means.
    """
    n = count(x)
    row = x[:, 0] if x.ndim > 2 else x
    shift = lax.stop_gradient(jnp.mean(row, axis=tuple(range(row.ndim - 1))))
    centered = x - per_channel(shift, x)
    total, squares = pair_sum(centered, jnp.square(centered))
    offset = total / n
    mean, var = shift + offset, jnp.maximum(squares / n - jnp.square(offset), 0)
    if axis_name is None:
        return mean, var
    means, variances = lax.all_gather(jnp.stack([mean, var]), axis_name, axis=1)
    mean = jnp.mean(means, axis=0)
    return mean, jnp.mean(variances, axis=0) + jnp.mean(jnp.square(means - mean[None]), axis=0)


def count(x: jax.Array, axis_name: str | None = None) -> int:
    """Returns the number of values per channel, on all devices along ``axis_name`` together."""
    devices = 1 if axis_name is None else lax.axis_size(axis_name)
    return devices * (x.size // x.shape[-1])


@functools.partial(jax.custom_jvp, nondiff_argnums=(4, 5, 6))
def normalize(
    x: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    residual: jax.Array | None,
    epsilon: float,
    relu: bool,
    axis_name: str | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Normalizes a batch by its own statistics (Ioffe and Szegedy 2015, algorithm 1).

    The derivative is written by hand with the fewest passes over memory: two sums and one elementwise
    expression in each direction. It can be differentiated again, in either mode.

    Args:
        x: ``(..., channels)``.
        scale: ``(channels,)``, of the dtype of ``x`` like all arrays here.
        bias: ``(channels,)``.
        residual: Shape of ``x``; added before the ReLU.
        epsilon: Added to the variance.
        relu: Whether a ReLU follows.
        axis_name: Axis of a ``shard_map`` (with ``check_vma=False``) or ``pmap``: the batch is then that of
            all devices along it.

    Returns:
        The result, shaped like ``x``, and mean and biased variance of the batch, ``(channels,)``.
    """
    mean, var = batch_moments(x, axis_name)
    return materialize(affine(x, mean, var, scale, bias, residual, epsilon, relu), mean), mean, var


def affine(
    x: jax.Array,
    mean: jax.Array,
    var: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    residual: jax.Array | None,
    epsilon: float,
    relu: bool,
) -> jax.Array:
    """Normalizes by given statistics; the arguments are those of ``normalize``."""
    slope = scale * lax.rsqrt(var + epsilon)
    y = (x - per_channel(mean, x)) * per_channel(slope, x) + per_channel(bias, x)
    if residual is not None:
        y = y + residual
    return jax.nn.relu(y) if relu else y


@normalize.defjvp
def _normalize_jvp(
    epsilon: float, relu: bool, axis_name: str | None, primals: tuple, tangents: tuple
) -> tuple:
    x, scale, bias, residual = primals
    y, mean, var = normalize(x, scale, bias, residual, epsilon, relu, axis_name)
    moved = tangents_of(tangents, x, scale, mean, var, y, epsilon, relu, axis_name)
    return (y, mean, var), moved


def tangents_of(
    tangents: Sequence[Any],
    x: jax.Array,
    scale: jax.Array,
    mean: jax.Array,
    var: jax.Array,
    y: jax.Array,
    epsilon: float,
    relu: bool,
    axis_name: str | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Maps the tangents of ``x``, ``scale``, ``bias``, ``residual`` to those of ``normalize``'s results."""
    dx, dscale, dbias, dresidual = tangents
    n = count(x, axis_name)
    centered = x - per_channel(mean, x)
    inverse = lax.rsqrt(var + epsilon)

    total, product = pair_sum(dx, centered * dx)
    if axis_name is not None:
        total, product = lax.psum((total, product), axis_name)
    dmean, dvar = total / n, product * (2 / n)
    dslope = dscale * inverse - (0.5 * scale * inverse**3) * dvar
    doffset = dbias - (scale * inverse) * dmean
    slope_term, offset_term = pair_broadcast(dslope, doffset, like=x)
    dy = per_channel(scale * inverse, x) * dx + centered * slope_term + offset_term
    if dresidual is not None:
        dy = dy + dresidual
    if relu:
        dy = jnp.where(y > 0, dy, 0)
    return dy, dmean, dvar
