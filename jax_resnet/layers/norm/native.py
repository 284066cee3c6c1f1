"""Batch normalization by the extension, in programs that JAX compiles for CPU."""

from typing import Any

import jax
import numpy as np

from jax_resnet.layers.onednn.library import NORM_BACKWARD, NORM_FORWARD, load
from jax_resnet.layers.onednn.lowering import may_call_extension

__all__ = ["can_use", "native_backward", "native_forward"]

# Columns that the kernels read at once, and lanes per vector; see ``Shape`` in norm_kernels.h.
_WIDE, _LANES = 64, 16


def can_use(ctx: Any, x: Any, warn: bool) -> bool:
    """Returns whether the extension can compute an operation on ``x`` that ``ctx`` is lowering.

    Args:
        ctx: JAX's lowering context.
        x: Type of the input, ``(..., channels)``.
        warn: Log a warning where there is no extension.
    """
    *sizes, channels = x.shape
    if not all(isinstance(size, int) and size > 0 for size in x.shape):
        return False
    rows_side_by_side = _WIDE // channels if _WIDE % channels == 0 else 1
    fits = channels * rows_side_by_side % _LANES == 0 and np.prod(sizes) % rows_side_by_side == 0
    return bool(fits) and may_call_extension(ctx) and load(warn).library is not None


def native_forward(x: Any, scale: Any, bias: Any, *residual: Any, spec: Any) -> Any:
    """Returns the normalized array, mean and variance; ``can_use`` must have agreed."""
    like, vector = jax.typeof(x), jax.typeof(scale)
    call = jax.ffi.ffi_call(NORM_FORWARD, [like, vector, vector])
    return call(x, scale, bias, *residual, epsilon=np.float32(spec.epsilon), relu=np.int64(spec.relu))


def native_backward(ct: Any, x: Any, scale: Any, mean: Any, var: Any, y: Any, *, spec: Any) -> Any:
    """Returns the gradients of input, scale, bias and, if any, residual; ``can_use`` must have agreed."""
    like, vector = jax.typeof(x), jax.typeof(scale)
    outputs = [like, vector, vector, *([like] if spec.residual else [])]
    call = jax.ffi.ffi_call(NORM_BACKWARD, outputs)
    return call(ct, x, y, scale, mean, var, epsilon=np.float32(spec.epsilon), relu=np.int64(spec.relu))
