"""The convolution as a JAX primitive, whose implementation is chosen when it is lowered.

One primitive serves the forward operation and both gradients: it can be differentiated any number of
times in either mode, and the platform that a program is compiled for decides what runs.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jax_resnet.layers.conv.native import can_use, native_conv
from jax_resnet.layers.conv.plain import plain_conv
from jax_resnet.layers.conv.spec import ConvSpec, Kind, result_shape
from jax_resnet.layers.interpreters import ad, define_primitive, mlir
from jax_resnet.layers.selection import Implementation

__all__ = ["bind_conv", "conv_p"]


def bind_conv(
    a: jax.Array, b: jax.Array, kind: Kind, spec: ConvSpec, implementation: Implementation
) -> jax.Array:
    """Applies one of the three operations; ``plain_conv`` says what ``a`` and ``b`` are."""
    return conv_p.bind(a, b, kind=kind, spec=spec, implementation=implementation)


def _abstract(a: Any, b: Any, *, kind: Kind, spec: ConvSpec, implementation: Implementation) -> Any:
    return a.update(shape=result_shape(kind, a.shape, b.shape, spec), weak_type=False)


def _transpose_a(
    ct: jax.Array, a: Any, b: jax.Array, *, kind: Kind, spec: ConvSpec, implementation: Any
) -> jax.Array:
    if kind == "forward":
        return bind_conv(ct, b, "input_gradient", spec, implementation)
    if kind == "input_gradient":
        return bind_conv(ct, b, "forward", spec, implementation)
    return bind_conv(b, ct, "input_gradient", spec, implementation)


def _transpose_b(
    ct: jax.Array, a: jax.Array, b: Any, *, kind: Kind, spec: ConvSpec, implementation: Any
) -> jax.Array:
    if kind == "forward":
        return bind_conv(a, ct, "weight_gradient", spec, implementation)
    if kind == "input_gradient":
        return bind_conv(ct, a, "weight_gradient", spec, implementation)
    return bind_conv(a, ct, "forward", spec, implementation)


def _batch(
    args: Sequence[jax.Array], dims: Sequence[int | None], *, kind: Kind, spec: ConvSpec, implementation: Any
) -> tuple[jax.Array, int]:
    a, b = args
    a_dim, b_dim = dims
    if b_dim is None and kind != "weight_gradient":
        # All share the weights: more images in the batch.
        assert a_dim is not None
        a = jnp.moveaxis(a, a_dim, 0)
        y = bind_conv(a.reshape(-1, *a.shape[2:]), b, kind, spec, implementation)
        return y.reshape(*a.shape[:2], *y.shape[1:]), 0
    # Independent convolutions side by side: more groups of channels.
    (count,) = {v.shape[dim] for v, dim in zip(args, dims, strict=True) if dim is not None}

    def channels_side_by_side(v: jax.Array, dim: int | None) -> jax.Array:
        if dim is None:
            return jnp.tile(v, count)
        v = jnp.moveaxis(v, dim, -2)
        return v.reshape(*v.shape[:-2], v.shape[-2] * v.shape[-1])

    y = bind_conv(
        channels_side_by_side(a, a_dim),
        channels_side_by_side(b, b_dim),
        kind,
        spec._replace(groups=spec.groups * count),
        implementation,
    )
    return y.reshape(*y.shape[:-1], count, y.shape[-1] // count), y.ndim - 1


def _plain(
    a: jax.Array, b: jax.Array, *, kind: Kind, spec: ConvSpec, implementation: Implementation
) -> jax.Array:
    return plain_conv(a, b, kind=kind, spec=spec, for_cpu=False)


def _lower_cpu(
    ctx: Any, a: Any, b: Any, *, kind: Kind, spec: ConvSpec, implementation: Implementation
) -> Any:
    if implementation != "jax" and can_use(ctx, kind, spec, warn=implementation == "onednn"):
        conv = functools.partial(native_conv, kind=kind, spec=spec)
    else:
        conv = functools.partial(plain_conv, kind=kind, spec=spec, for_cpu=True)
    return mlir.lower_fun(conv, multiple_results=False)(ctx, a, b)


conv_p = define_primitive(
    "jax_resnet_conv",
    multiple_results=False,
    abstract=_abstract,
    batch=_batch,
    plain=_plain,
    lower_cpu=_lower_cpu,
)
if conv_p is not None:
    ad.defbilinear(conv_p, _transpose_a, _transpose_b)
