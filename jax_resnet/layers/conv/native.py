"""Convolution by the extension, in programs that JAX compiles for CPU."""

import functools
from typing import Any

import jax
import numpy as np

from jax_resnet.layers.conv.grouped import block_diagonal
from jax_resnet.layers.conv.spec import ConvSpec, Kind, result_shape
from jax_resnet.layers.onednn.library import CONV, CONV_BIAS, load
from jax_resnet.layers.onednn.lowering import may_call_extension
from jax_resnet.layers.onednn.problem import DTYPES, pack_problem

__all__ = ["can_use", "groups_to_merge", "merge_groups", "native_conv", "native_conv_bias", "problem_of"]

# Measured: groups with fewer channels than this, on the wider side, are faster when merged.
_MIN_GROUP_CHANNELS = 8


def groups_to_merge(groups: int, inputs: int, outputs: int) -> int:
    """Returns how many groups to compute as one with block-diagonal weights.

    Merging is faster for narrow groups, except for those of one channel: oneDNN has kernels for them.

    Args:
        groups: Number of groups.
        inputs: Input channels per group.
        outputs: Output channels per group.
    """
    most = 1 if inputs == outputs == 1 else _MIN_GROUP_CHANNELS // max(inputs, outputs)
    return max((n for n in range(2, most + 1) if groups % n == 0), default=1)


def merge_groups(a: Any, b: Any, kind: Kind, spec: ConvSpec) -> tuple[ConvSpec, int]:
    """Returns the convolution for oneDNN to compute, and how many groups each of its groups replaces."""
    inputs = a.shape[3] // spec.groups if kind == "weight_gradient" else b.shape[2]
    merged = groups_to_merge(spec.groups, inputs, b.shape[3] // spec.groups)
    return spec._replace(groups=spec.groups // merged), merged


def problem_of(a: Any, b: Any, kind: Kind, spec: ConvSpec, epilogue: int = 0) -> np.ndarray | None:
    """Returns the problem for arguments of these shapes and dtypes; None where oneDNN cannot have it."""
    spec, merged = merge_groups(a, b, kind, spec)
    second = b.shape if kind == "weight_gradient" else (*b.shape[:2], b.shape[2] * merged, b.shape[3])
    out = result_shape(kind, a.shape, second, spec)
    x, w, y = {
        "forward": (a.shape, second, out),
        "input_gradient": (out, second, a.shape),
        "weight_gradient": (a.shape, out, second),
    }[kind]
    sizes = (*x, *w, *y)
    if not all(isinstance(size, int) and size > 0 for size in sizes) or a.dtype.name not in DTYPES:
        return None
    window = (spec.strides, spec.dilation, spec.padding)
    direct = spec.in_full_precision
    return pack_problem(kind, a.dtype.name, spec.groups, (x, w, y), *window, epilogue, direct=direct)


def can_use(ctx: Any, kind: Kind, spec: ConvSpec, warn: bool, epilogue: int = 0) -> bool:
    """Returns whether the extension can compute the operation that ``ctx`` is lowering.

    Args:
        ctx: JAX's lowering context.
        kind: Which operation.
        spec: The convolution.
        warn: Log a warning where there is no extension.
        epilogue: What follows a forward convolution, see ``pack_problem``.
    """
    if not may_call_extension(ctx):
        return False
    a, b = ctx.avals_in[:2]
    problem = problem_of(a, b, kind, spec, epilogue)
    return problem is not None and load(warn).is_supported(problem)


def native_conv(a: jax.Array, b: jax.Array, *, kind: Kind, spec: ConvSpec) -> jax.Array:
    """Computes one of the three operations of a convolution; ``can_use`` must have agreed."""
    problem = problem_of(a, b, kind, spec)
    inner, merged = merge_groups(a, b, kind, spec)
    widen = functools.partial(block_diagonal, groups=spec.groups, merged=merged)
    if merged > 1 and kind != "weight_gradient":
        b = widen(b)
    out = jax.typeof(a).update(shape=result_shape(kind, a.shape, b.shape, inner))
    (result,) = jax.ffi.ffi_call(CONV, [out])(a, b, problem=problem)
    if merged > 1 and kind == "weight_gradient":
        weights = jax.typeof(a).update(shape=result_shape(kind, a.shape, b.shape, spec))
        (result,) = jax.linear_transpose(widen, weights)(result)
    return result


def native_conv_bias(
    x: jax.Array, w: jax.Array, bias: jax.Array, *residual: jax.Array, spec: ConvSpec, epilogue: int
) -> jax.Array:
    """Computes a forward convolution and what follows it; ``can_use`` must have agreed."""
    problem = problem_of(x, w, "forward", spec, epilogue)
    inner, merged = merge_groups(x, w, "forward", spec)
    if merged > 1:
        w = block_diagonal(w, groups=spec.groups, merged=merged)
    out = jax.typeof(x).update(shape=result_shape("forward", x.shape, w.shape, inner))
    aliases = {3: 0} if residual else {}
    call = jax.ffi.ffi_call(CONV_BIAS, [out], input_output_aliases=aliases)
    (result,) = call(x, w, bias, *residual, problem=problem)
    return result
