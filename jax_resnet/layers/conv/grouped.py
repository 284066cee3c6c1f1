"""Grouped convolution as a few dense ones.

XLA has no fast grouped convolution on CPU: the gradient of a single layer of a ResNeXt takes it 14
seconds. Neighboring groups taken together are a dense convolution whose weights are block-diagonal.
It multiplies by zeros outside the blocks, yet at 16 to 32 channels the dense kernel is so much faster
that the zeros are cheap.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jax_resnet.layers.conv.spec import ConvSpec

# Channels, on the wider side, of the dense convolutions. Measured: 32 takes 1.5 times, 64 2.2 times as long.
_TARGET_CHANNELS = 16
# Each part takes time to compile: very many groups, which vmap over the weights makes, widen instead.
_MOST_PARTS = 64


def block_diagonal(w: jax.Array, groups: int, together: int) -> jax.Array:
    """Writes runs of neighboring groups as one group each, with zeros outside of diagonal blocks.

    Args:
        w: ``(h, w, i, o)`` of a convolution in so many ``groups``.
        groups: Number of groups.
        together: How many become one; it divides ``groups``.

    Returns:
        ``(h, w, together * i, o)``, of a convolution in ``groups / together`` groups.
    """
    height, width, inputs, outputs = w.shape
    w = w.reshape(height, width, 1, inputs, groups // together, together, outputs // groups)
    same_group = jnp.eye(together, dtype=bool)[:, None, None, :, None]
    return jnp.where(same_group, w, 0).reshape(height, width, together * inputs, outputs)


def grouped_forward(
    x: jax.Array, w: jax.Array, spec: ConvSpec, dense: Callable[[jax.Array, jax.Array, ConvSpec], jax.Array]
) -> jax.Array:
    """Convolves, each run of neighboring groups as one convolution by ``dense``.

    Exact but for the order of summation, for finite numbers: an infinite or undefined input also
    spoils the outputs of the groups it is taken together with.
    """
    inputs, outputs = w.shape[2], w.shape[3] // spec.groups
    together = max(1, _TARGET_CHANNELS // max(inputs, outputs), -(-spec.groups // _MOST_PARTS))
    parts = []
    for first in range(0, spec.groups, together):
        count = min(together, spec.groups - first)
        x_part = x[..., first * inputs : (first + count) * inputs]
        w_part = w[..., first * outputs : (first + count) * outputs]
        parts.append(dense(x_part, block_diagonal(w_part, count, count), spec._replace(groups=1)))
    return jnp.concatenate(parts, axis=-1)
