"""Convolution in plain JAX, with grouped convolutions as a few dense ones.

XLA has no fast grouped convolution on CPU: the gradient of a single layer of a ResNeXt takes it 14
seconds. Neighbouring groups taken together are a dense convolution whose weights are block-diagonal.
It multiplies by zeros outside the blocks, yet at 16 to 32 channels the dense kernel is so much faster
that the zeros are cheap.
"""

import jax
import jax.numpy as jnp
from jax import lax

from jax_resnet.layers.spec import ConvSpec, Kind, result_shape

# Channels, on the wider side, of the dense convolutions. Measured: 32 takes 1.5 times, 64 2.2 times as long.
_TARGET_CHANNELS = 16
# Each part takes time to compile: very many groups, which vmap over the weights makes, widen instead.
_MOST_PARTS = 64


def dense_forward(x: jax.Array, w: jax.Array, spec: ConvSpec) -> jax.Array:
    """Convolves as XLA does."""
    return lax.conv_general_dilated(
        x,
        w,
        spec.strides,
        spec.padding,
        rhs_dilation=spec.dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=spec.groups,
        precision=spec.precision,
    )


def block_diagonal(w: jax.Array, groups: int, together: int) -> jax.Array:
    """Writes runs of neighbouring groups as one group each, with zeros outside of diagonal blocks.

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


def grouped_forward(x: jax.Array, w: jax.Array, spec: ConvSpec) -> jax.Array:
    """Convolves, each run of neighbouring groups as one dense convolution.

    Exact but for the order of summation, for finite numbers: an infinite or undefined input also
    spoils the outputs of the groups it is taken together with.
    """
    inputs, outputs = w.shape[2], w.shape[3] // spec.groups
    together = max(1, _TARGET_CHANNELS // max(inputs, outputs), -(-spec.groups // _MOST_PARTS))
    if spec.groups == 1:
        return dense_forward(x, w, spec)
    parts = []
    for first in range(0, spec.groups, together):
        count = min(together, spec.groups - first)
        x_part = x[..., first * inputs : (first + count) * inputs]
        w_part = w[..., first * outputs : (first + count) * outputs]
        parts.append(dense_forward(x_part, block_diagonal(w_part, count, count), spec._replace(groups=1)))
    return jnp.concatenate(parts, axis=-1)


def plain_conv(a: jax.Array, b: jax.Array, *, kind: Kind, spec: ConvSpec, split_groups: bool) -> jax.Array:
    """Computes one of the three operations of a convolution in plain JAX.

    Args:
        a: ``x`` or, for ``"input_gradient"``, the gradient of ``y``.
        b: ``w`` or, for ``"weight_gradient"``, the gradient of ``y``.
        kind: Which operation.
        spec: The convolution.
        split_groups: Write a grouped convolution as dense ones instead of leaving it to XLA.
    """
    forward = grouped_forward if split_groups else dense_forward
    if kind == "forward":
        return forward(a, b, spec)
    # Of the type of ``a``, so that inside ``shard_map`` it varies over the same axes.
    shape = jax.typeof(a).update(shape=result_shape(kind, a.shape, b.shape, spec))
    if kind == "input_gradient":
        (gradient,) = jax.linear_transpose(lambda x: forward(x, b, spec), shape)(a)
    else:
        (gradient,) = jax.linear_transpose(lambda w: forward(a, w, spec), shape)(b)
    return gradient
