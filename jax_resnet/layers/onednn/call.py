"""Convolution through the extension, inside of a program that JAX compiles for CPU."""

import functools
from typing import Any

import jax
import numpy as np

from jax_resnet.layers.conv.grouped import block_diagonal
from jax_resnet.layers.conv.spec import ConvSpec, Kind, result_shape
from jax_resnet.layers.onednn.library import CONV, load
from jax_resnet.layers.onednn.lowering import may_call
from jax_resnet.layers.onednn.problem import DTYPES, pack_problem

# Channels of one group, on its wider side, below which wider groups were measured to be faster.
_CHANNELS = 8


def groups_together(groups: int, inputs: int, outputs: int) -> int:
    """Returns how many groups, of so many channels each, to compute as one with block-diagonal weights.

    It pays for narrow groups, though not for those of one channel, for which oneDNN has kernels.
    """
    most = 1 if inputs == outputs == 1 else _CHANNELS // max(inputs, outputs)
    return max((n for n in range(2, most + 1) if groups % n == 0), default=1)


def regroup(a: Any, b: Any, kind: Kind, spec: ConvSpec) -> tuple[ConvSpec, int]:
    """Returns the convolution that oneDNN computes instead and how many groups are one in it."""
    inputs = a.shape[3] // spec.groups if kind == "weight_gradient" else b.shape[2]
    together = groups_together(spec.groups, inputs, b.shape[3] // spec.groups)
    return spec._replace(groups=spec.groups // together), together


def problem_of(a: Any, b: Any, kind: Kind, spec: ConvSpec) -> np.ndarray | None:
    """Returns the problem for arguments of these shapes and dtypes, None if it is none for oneDNN."""
    spec, together = regroup(a, b, kind, spec)
    second = b.shape if kind == "weight_gradient" else (*b.shape[:2], b.shape[2] * together, b.shape[3])
    out = result_shape(kind, a.shape, second, spec)
    x, w, y = {
        "forward": (a.shape, second, out),
        "input_gradient": (out, second, a.shape),
        "weight_gradient": (a.shape, out, second),
    }[kind]
    sizes = (*x, *w, *y)
    if not all(isinstance(size, int) and size > 0 for size in sizes) or a.dtype.name not in DTYPES:
        return None
    return pack_problem(kind, a.dtype.name, spec.groups, (x, w, y), spec.strides, spec.dilation, spec.padding)


def can_use(ctx: Any, kind: Kind, spec: ConvSpec, insist: bool) -> bool:
    """Returns whether the extension can take the place of the operation that ``ctx`` is lowering."""
    if not may_call(ctx):
        return False
    a, b = ctx.avals_in
    problem = problem_of(a, b, kind, spec)
    return problem is not None and load(insist).is_supported(problem)


def native_conv(a: jax.Array, b: jax.Array, *, kind: Kind, spec: ConvSpec) -> jax.Array:
    """Computes one of the three operations of a convolution; ``can_use`` must have agreed."""
    problem = problem_of(a, b, kind, spec)
    inner, together = regroup(a, b, kind, spec)
    widen = functools.partial(block_diagonal, groups=spec.groups, together=together)
    if together > 1 and kind != "weight_gradient":
        b = widen(b)
    out = jax.typeof(a).update(shape=result_shape(kind, a.shape, b.shape, inner))
    (result,) = jax.ffi.ffi_call(CONV, [out])(a, b, problem=problem)
    if together > 1 and kind == "weight_gradient":
        weights = jax.typeof(a).update(shape=result_shape(kind, a.shape, b.shape, spec))
        (result,) = jax.linear_transpose(widen, weights)(result)
    return result
