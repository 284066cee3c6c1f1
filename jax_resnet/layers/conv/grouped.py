"""Grouped convolution as a few dense ones.

XLA has no fast grouped convolution on CPU: the gradient of a single layer of a ResNeXt takes it 14
seconds. Several neighboring groups together are a dense convolution whose weights are block-diagonal.
It multiplies by zeros outside of the blocks, but at 16 to 32 channels the dense convolution is so much
faster that the zeros cost little.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jax_resnet.layers.conv.spec import ConvSpec

__all__ = ["block_diagonal", "grouped_forward"]

# Channels, on the wider side, of each dense convolution. Measured: 32 takes 1.5 times as long, 64 2.2 times.
_TARGET_CHANNELS = 16
# Each part takes time to compile. vmap over the weights makes very many groups: then the parts get wider.
_MAX_PARTS = 64


def block_diagonal(w: jax.Array, groups: int, merged: int) -> jax.Array:
    """Writes each run of ``merged`` neighboring groups as one group, with zeros outside of its blocks.

    Args:
        w: ``(h, w, i, o)``, the weights of a convolution in ``groups`` groups.
        groups: Number of groups.
        merged: Number of groups that become one; it divides ``groups``.

    Returns:
        ``(h, w, merged * i, o)``, the weights of a convolution in ``groups / merged`` groups.
    """
    height, width, inputs, outputs = w.shape
    w = w.reshape(height, width, 1, inputs, groups // merged, merged, outputs // groups)
    same_group = jnp.eye(merged, dtype=bool)[:, None, None, :, None]
    return jnp.where(same_group, w, 0).reshape(height, width, merged * inputs, outputs)


def grouped_forward(
    x: jax.Array, w: jax.Array, spec: ConvSpec, dense: Callable[[jax.Array, jax.Array, ConvSpec], jax.Array]
) -> jax.Array:
    """Convolves, each run of neighboring groups as one convolution by ``dense``.

    For finite numbers the result is exact up to the order of summation. An infinity or NaN in the input
    also spoils the outputs of the groups that are merged with its own.
    """
    inputs, outputs = w.shape[2], w.shape[3] // spec.groups
    merged = max(1, _TARGET_CHANNELS // max(inputs, outputs), -(-spec.groups // _MAX_PARTS))
    parts = []
    for first in range(0, spec.groups, merged):
        count = min(merged, spec.groups - first)
        x_part = x[..., first * inputs : (first + count) * inputs]
        w_part = w[..., first * outputs : (first + count) * outputs]
        parts.append(dense(x_part, block_diagonal(w_part, count, count), spec._replace(groups=1)))
    return jnp.concatenate(parts, axis=-1)
