"""Batch normalization through the extension, inside of a program that JAX compiles for CPU."""

from typing import Any

import jax
import numpy as np

from jax_resnet.layers.onednn.library import NORM_BACKWARD, NORM_FORWARD, load
from jax_resnet.layers.onednn.lowering import may_call

# Columns that the kernels read at a time, and lanes of a vector; see Shape in norm.cc.
_WIDE, _LANES = 64, 16


def can_fuse(ctx: Any, x: Any, insist: bool) -> bool:
    """Returns whether the extension can take the place of an operation on ``x`` that ``ctx`` is lowering."""
    *sizes, channels = x.shape
    if not all(isinstance(size, int) and size > 0 for size in x.shape):
        return False
    rows_side_by_side = _WIDE // channels if _WIDE % channels == 0 else 1
    fits = channels * rows_side_by_side % _LANES == 0 and np.prod(sizes) % rows_side_by_side == 0
    return bool(fits) and may_call(ctx) and load(insist).library is not None


def native_forward(x: Any, scale: Any, bias: Any, *residual: Any, spec: Any) -> Any:
    """Normalizes; ``can_fuse`` must have agreed."""
    like, vector = jax.typeof(x), jax.typeof(scale)
    call = jax.ffi.ffi_call(NORM_FORWARD, [like, vector, vector])
    return call(x, scale, bias, *residual, epsilon=np.float32(spec.epsilon), relu=np.int64(spec.relu))


def native_backward(ct: Any, x: Any, scale: Any, mean: Any, var: Any, y: Any, *, spec: Any) -> Any:
    """The gradients of input, scale, bias and residual; ``can_fuse`` must have agreed."""
    like, vector = jax.typeof(x), jax.typeof(scale)
    outputs = [like, vector, vector, *([like] if spec.residual else [])]
    call = jax.ffi.ffi_call(NORM_BACKWARD, outputs)
    return call(ct, x, y, scale, mean, var, epsilon=np.float32(spec.epsilon), relu=np.int64(spec.relu))
