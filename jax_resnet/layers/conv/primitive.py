"""The convolution as a JAX primitive, whose implementation is chosen when it is lowered.

Being one primitive for the forward operation and both gradients, it can be differentiated any number
of times in either mode, and what runs is decided for the platform that a program is compiled for.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jax_resnet.layers.conv.plain import plain_conv
from jax_resnet.layers.conv.spec import ConvSpec, Kind, result_shape
from jax_resnet.layers.onednn.call import can_use, native_conv
from jax_resnet.layers.selection import Implementation

conv_p = Primitive("jax_resnet_conv")


def bind_conv(
    a: jax.Array, b: jax.Array, kind: Kind, spec: ConvSpec, implementation: Implementation
) -> jax.Array:
    """Applies one of the three operations; ``plain_conv`` says what ``a`` and ``b`` are."""
    return conv_p.bind(a, b, kind=kind, spec=spec, implementation=implementation)


def _abstract(a: Any, b: Any, *, kind: Kind, spec: ConvSpec, implementation: Implementation) -> Any:
    return a.update(shape=result_shape(kind, a.shape, b.shape, spec), weak_type=False)


@functools.cache
def _jitted(kind: Kind, spec: ConvSpec, implementation: Implementation) -> Any:
    return jax.jit(lambda a, b: bind_conv(a, b, kind, spec, implementation))


def _evaluate(
    a: jax.Array, b: jax.Array, *, kind: Kind, spec: ConvSpec, implementation: Implementation
) -> jax.Array:
    if jax.config.jax_disable_jit:  # type: ignore[attr-defined]
        return plain_conv(a, b, kind=kind, spec=spec, rewrite=False)
    return _jitted(kind, spec, implementation)(a, b)


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
        # The weights are shared: more images in the batch.
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
        return v.reshape(*v.shape[:-2], -1)

    y = bind_conv(
        channels_side_by_side(a, a_dim),
        channels_side_by_side(b, b_dim),
        kind,
        spec._replace(groups=spec.groups * count),
        implementation,
    )
    return y.reshape(*y.shape[:-1], count, -1), y.ndim - 1


def _lower(ctx: Any, a: Any, b: Any, *, kind: Kind, spec: ConvSpec, implementation: Implementation) -> Any:
    plain = functools.partial(plain_conv, kind=kind, spec=spec, rewrite=False)
    return mlir.lower_fun(plain, multiple_results=False)(ctx, a, b)


def _lower_cpu(
    ctx: Any, a: Any, b: Any, *, kind: Kind, spec: ConvSpec, implementation: Implementation
) -> Any:
    if implementation != "jax" and can_use(ctx, kind, spec, insist=implementation == "onednn"):
        conv = functools.partial(native_conv, kind=kind, spec=spec)
    else:
        conv = functools.partial(plain_conv, kind=kind, spec=spec, rewrite=True)
    return mlir.lower_fun(conv, multiple_results=False)(ctx, a, b)


conv_p.def_impl(_evaluate)
conv_p.def_abstract_eval(_abstract)
ad.defbilinear(conv_p, _transpose_a, _transpose_b)
batching.primitive_batchers[conv_p] = _batch
mlir.register_lowering(conv_p, _lower)
mlir.register_lowering(conv_p, _lower_cpu, platform="cpu")
