"""Convolution in plain JAX: XLA's own operation, and its rewriting into those that XLA does fast on CPU."""

import jax
from jax import lax

from jax_resnet.layers.conv.grouped import grouped_forward
from jax_resnet.layers.conv.spec import ConvSpec, Kind, result_shape


def xla_forward(x: jax.Array, w: jax.Array, spec: ConvSpec) -> jax.Array:
    """Convolves as XLA does, whose own operation this is."""
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


def pointwise_forward(x: jax.Array, w: jax.Array, spec: ConvSpec) -> jax.Array:
    """Convolves with a kernel of one pixel, without padding, as a matrix product.

    XLA does not do so itself on CPU; its gradient for the weights takes 2 to 6 times as long.
    """
    x = x[:, :: spec.strides[0], :: spec.strides[1]]
    # As one long matrix: of products over several axes, XLA transposes the arguments first.
    y = lax.dot(x.reshape(-1, x.shape[3]), w[0, 0], precision=spec.precision)
    return y.reshape(*x.shape[:3], w.shape[3])


def dense_forward(x: jax.Array, w: jax.Array, spec: ConvSpec) -> jax.Array:
    """Convolves all channels with each other, in the way in which XLA is fast on CPU."""
    pointwise = spec.kernel_size == (1, 1) and spec.padding == ((0, 0), (0, 0))
    return (pointwise_forward if pointwise else xla_forward)(x, w, spec)


def cpu_forward(x: jax.Array, w: jax.Array, spec: ConvSpec) -> jax.Array:
    """Convolves in the way in which XLA is fast on CPU."""
    if spec.groups > 1:
        return grouped_forward(x, w, spec, dense_forward)
    return dense_forward(x, w, spec)


def plain_conv(a: jax.Array, b: jax.Array, *, kind: Kind, spec: ConvSpec, rewrite: bool) -> jax.Array:
    """Computes one of the three operations of a convolution in plain JAX.

    Args:
        a: ``x`` or, for ``"input_gradient"``, the gradient of ``y``.
        b: ``w`` or, for ``"weight_gradient"``, the gradient of ``y``.
        kind: Which operation.
        spec: The convolution.
        rewrite: Write it in the terms in which XLA is fast on CPU, instead of as XLA's own operation.
    """
    forward = cpu_forward if rewrite else xla_forward
    if kind == "forward":
        return forward(a, b, spec)
    # Of the type of ``a``, so that inside ``shard_map`` it varies over the same axes.
    shape = jax.typeof(a).update(shape=result_shape(kind, a.shape, b.shape, spec))
    if kind == "input_gradient":
        (gradient,) = jax.linear_transpose(lambda x: forward(x, b, spec), shape)(a)
    else:
        (gradient,) = jax.linear_transpose(lambda w: forward(a, w, spec), shape)(b)
    return gradient
