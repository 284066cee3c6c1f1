"""Batch normalization, residual and ReLU as primitives, which the native extension computes in one call.

A primitive means plain JAX, and becomes that wherever the extension is not used: on other platforms, on
several devices, in exported programs, under ``vmap``, and in derivatives of derivatives. The derivative is
a primitive too, linear in the tangents, and so is its transpose: reverse mode, which training uses, gets
the whole backward pass as a single operation.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jax_resnet.layers.dtypes import wide_dtype
from jax_resnet.layers.interpreters import PROBLEM, ad, define_primitive, mlir
from jax_resnet.layers.norm.materialize import materialize
from jax_resnet.layers.norm.native import can_use, native_backward, native_forward
from jax_resnet.layers.norm.normalize import (
    affine,
    batch_moments,
    count,
    per_channel,
    tangents_of,
)
from jax_resnet.layers.norm.reductions import pair_sum
from jax_resnet.layers.selection import Implementation, requested_implementation
from jax_resnet.layers.sharding import is_explicitly_sharded, same_manual_axes

__all__ = ["Arrays", "FusedSpec", "can_fuse", "cotangent_p", "fused_normalize", "norm_p", "tangent_p"]

Arrays = Sequence[Any]


class FusedSpec(NamedTuple):
    """What is fixed when the operation is traced.

    Attributes:
        epsilon: Added to the variance.
        relu: Whether a ReLU follows.
        residual: Whether a residual is added before the ReLU.
        implementation: The requested implementation.
    """

    epsilon: float
    relu: bool
    residual: bool
    implementation: Implementation


def can_fuse(x: jax.Array, residual: jax.Array | None, dtype: Any) -> bool:
    """Returns whether ``fused_normalize`` takes these: all of one ``dtype``, float32 or bfloat16."""
    arrays = [x] if residual is None else [x, residual]
    return (
        PROBLEM is None
        and requested_implementation()[0] in ("auto", "onednn")
        and all(array.dtype == dtype for array in arrays)
        and dtype in (jnp.float32, jnp.bfloat16)
        and not is_explicitly_sharded(*arrays)
    )


@functools.partial(jax.custom_jvp, nondiff_argnums=(4, 5))
def fused_normalize(
    x: jax.Array, scale: jax.Array, bias: jax.Array, residual: jax.Array | None, epsilon: float, relu: bool
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Does what ``normalize`` does, for arguments that ``can_fuse`` accepts.

    Parameters and statistics are float32; ``x``, ``residual`` and the result share one dtype.
    """
    spec = FusedSpec(epsilon, relu, residual is not None, requested_implementation()[0])
    given = [x, scale, bias] if residual is None else [x, scale, bias, residual]
    y, mean, var = norm_p.bind(*same_manual_axes(*given), spec=spec)
    return y, mean, var


@fused_normalize.defjvp
def _fused_jvp(epsilon: float, relu: bool, primals: tuple, tangents: tuple) -> tuple:
    x, scale, bias, residual = primals
    out = fused_normalize(x, scale, bias, residual, epsilon, relu)
    y, mean, var = out
    spec = FusedSpec(epsilon, relu, residual is not None, requested_implementation()[0])
    linear = tangents[:3] if residual is None else tangents
    return out, tuple(tangent_p.bind(*same_manual_axes(*linear, x, scale, mean, var, y), spec=spec))


def _wide(*arrays: Any) -> Arrays:
    return [array.astype(wide_dtype(array.dtype)) for array in arrays]


def _forward(x: Any, scale: Any, bias: Any, *residual: Any, spec: FusedSpec) -> Arrays:
    (wide,) = _wide(x)
    added = _wide(*residual)[0] if spec.residual else None
    mean, var = batch_moments(wide)
    y = affine(wide, mean, var, scale, bias, added, spec.epsilon, spec.relu).astype(x.dtype)
    return [materialize(y, mean), mean, var]


def _tangent(*args: Any, spec: FusedSpec) -> Arrays:
    *tangents, x, scale, mean, var, y = args
    moving = [*_wide(*tangents), *([] if spec.residual else [None])]
    wide = _wide(x)[0]
    dy, dmean, dvar = tangents_of(moving, wide, scale, mean, var, y, spec.epsilon, spec.relu)
    return [dy.astype(x.dtype), dmean, dvar]


def _cotangent(ct: Any, x: Any, scale: Any, mean: Any, var: Any, y: Any, *, spec: FusedSpec) -> Arrays:
    ct, wide = _wide(ct, x)
    if spec.relu:
        ct = jnp.where(y > 0, ct, 0)
    centered, inverse, n = wide - per_channel(mean, x), lax.rsqrt(var + spec.epsilon), count(x)
    total, product = pair_sum(ct, centered * ct)
    linear, offset = per_channel(product * inverse**2 / n, x), per_channel(total / n, x)
    ct_x = per_channel(scale * inverse, x) * (ct - offset - centered * linear)
    results = [ct_x.astype(x.dtype), product * inverse, total]
    return [*results, ct.astype(x.dtype)] if spec.residual else results


def _transpose(cts: Arrays, *args: Any, spec: FusedSpec) -> Arrays:
    x, _, mean, _, _ = args[-5:]
    ct, ct_mean, ct_var = cts
    results = list(cotangent_p.bind(*same_manual_axes(ad.instantiate_zeros(ct), *args[-5:]), spec=spec))
    # Training does not differentiate the running averages: then both gradients are symbolic zeros.
    for statistic, factor in ((ct_mean, 1.0), (ct_var, 2 * (_wide(x)[0] - per_channel(mean, x)))):
        if not isinstance(statistic, ad.Zero):
            change = per_channel(statistic, x) * factor / count(x)
            results[0] = results[0] + change.astype(x.dtype)
    known = [not ad.is_undefined_primal(argument) for argument in args[: len(results)]]
    given = [None if skip else result for result, skip in zip(results, known, strict=True)]
    return [*given, None, None, None, None, None]


def _define(
    name: str,
    plain: Callable[..., Arrays],
    abstract: Callable[..., Arrays],
    lower_cpu: Callable[..., Any] | None = None,
) -> Any:
    """Defines a primitive that means ``plain``; its ``vmap`` and derivative are those of ``plain``."""
    return define_primitive(
        name,
        multiple_results=True,
        abstract=lambda *avals, spec: [aval.update(weak_type=False) for aval in abstract(*avals, spec=spec)],
        plain=plain,
        meaning=plain,
        lower_cpu=lower_cpu,
    )


def _native_or_plain(
    native: Callable[..., Arrays], plain: Callable[..., Arrays], x_at: int
) -> Callable[..., Any]:
    """Returns the lowering on CPU: ``native`` where the extension takes argument ``x_at``, else ``plain``."""

    def lower(ctx: Any, *args: Any, spec: FusedSpec) -> Any:
        use = native if can_use(ctx, ctx.avals_in[x_at], warn=spec.implementation == "onednn") else plain
        return mlir.lower_fun(use, multiple_results=True)(ctx, *args, spec=spec)

    return lower


norm_p = _define(
    "jax_resnet_norm",
    _forward,
    lambda x, scale, *_, spec: [x, scale, scale],
    _native_or_plain(native_forward, _forward, x_at=0),
)
tangent_p = _define("jax_resnet_norm_tangent", _tangent, lambda dx, dscale, *_, spec: [dx, dscale, dscale])
cotangent_p = _define(
    "jax_resnet_norm_cotangent",
    _cotangent,
    lambda ct, x, scale, *_, spec: [x, scale, scale, x] if spec.residual else [x, scale, scale],
    _native_or_plain(native_backward, _cotangent, x_at=1),
)
if PROBLEM is None:
    ad.primitive_transposes[tangent_p] = _transpose
