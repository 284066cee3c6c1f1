"""Initial weights of convolutions and of the head."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

__all__ = ["he_normal", "head_init", "identity_init", "torch_conv_init"]

# He et al. 2015, "Delving deep into rectifiers", equation 10: variance 2 / fan-in.
he_normal = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
# Uniform in +-1 / sqrt(fan-in), as PyTorch's Linear and Conv2d.
head_init = torch_conv_init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def identity_init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """Weights HWIO of odd height and width whose first outputs are the inputs, the others as PyTorch's.

    PyTorch's ``dirac_`` on the first ``min(inputs, outputs)`` outputs, its default on the rest (Jordan
    2024, section 3.3).
    """
    height, width, inputs, outputs = shape
    copied = min(inputs, outputs)
    identity = jnp.zeros((height, width, inputs, copied), dtype)
    identity = identity.at[height // 2, width // 2, :copied].set(jnp.eye(copied, dtype=dtype))
    rest = torch_conv_init(key, shape, dtype)[..., copied:]
    return jnp.concatenate([identity, rest], -1)
