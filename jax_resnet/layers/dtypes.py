"""The dtype of what is computed in full precision."""

from typing import Any

import jax.numpy as jnp

__all__ = ["wide_dtype"]


def wide_dtype(dtype: Any) -> jnp.dtype:
    """Dtype of biases, statistics, pooling and logits: float64 for float64, else float32.

    ``jnp.promote_types`` would refuse bfloat16 where JAX is set to strict promotion.
    """
    return jnp.dtype(jnp.float64 if jnp.dtype(dtype) == jnp.float64 else jnp.float32)
