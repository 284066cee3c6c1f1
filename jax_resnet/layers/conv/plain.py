"""Convolution in plain JAX: XLA's own operation, and what XLA computes faster on CPU."""

import jax
from jax import lax

from jax_resnet.layers.conv.grouped import grouped_forward
from jax_resnet.layers.conv.spec import ConvSpec, Kind, result_shape

__all__ = ["cpu_forward", "dense_forward", "plain_conv", "pointwise_forward", "xla_forward"]


def xla_forward(x: jax.Array, w: jax.Array, spec: ConvSpec) -> jax.Array:
    """Convolves by XLA's own operation."""
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
    """Convolves with a 1x1 kernel, without padding, as a matrix product.

    XLA does not do so itself on CPU: its gradient for the weights takes 2 to 6 times as long.
    """
    x = x[:, :: spec.strides[0], :: spec.strides[1]]
    # One long matrix: for a product over several axes XLA transposes the arguments first.
    y = lax.dot(x.reshape(-1, x.shape[3]), w[0, 0], precision=spec.precision)
    return y.reshape(*x.shape[:3], w.shape[3])


def dense_forward(x: jax.Array, w: jax.Array, spec: ConvSpec) -> jax.Array:
    """Convolves in one group, in the way that XLA computes fast on CPU."""
    pointwise = spec.kernel_size == (1, 1) and spec.padding == ((0, 0), (0, 0))
    return (pointwise_forward if pointwise else xla_forward)(x, w, spec)


def cpu_forward(x: jax.Array, w: jax.Array, spec: ConvSpec) -> jax.Array:
    """Convolves in any number of groups, in the way that XLA computes fast on CPU."""
    if spec.groups > 1:
        return grouped_forward(x, w, spec, dense_forward)
    return dense_forward(x, w, spec)


def plain_conv(a: jax.Array, b: jax.Array, *, kind: Kind, spec: ConvSpec, for_cpu: bool) -> jax.Array:
    """Computes one of the three operations of a convolution in plain JAX.

    Args:
        a: ``x``, or for ``"input_gradient"`` the gradient of ``y``.
        b: ``w``, or for ``"weight_gradient"`` the gradient of ``y``.
        kind: Which operation.
        spec: The convolution.
        for_cpu: Write it in the way that XLA computes fast on CPU, instead of as XLA's own operation.
    """
    forward = cpu_forward if for_cpu else xla_forward
    if kind == "forward":
        return forward(a, b, spec)
    # With the type of ``a``: inside ``shard_map`` it varies over the same axes.
    shape = jax.typeof(a).update(shape=result_shape(kind, a.shape, b.shape, spec))
    if kind == "input_gradient":
        (gradient,) = jax.linear_transpose(lambda x: forward(x, b, spec), shape)(a)
    else:
        (gradient,) = jax.linear_transpose(lambda w: forward(a, w, spec), shape)(b)
    return gradient
