"""Batch normalisation (Ioffe and Szegedy 2015) with PyTorch's running statistics."""

import jax
import jax.numpy as jnp
from flax import linen as nn


class BatchNorm(nn.Module):
    """Normalises over every axis but the last, then optionally adds a residual and applies ReLU.

    ``y = relu((x - mean) / sqrt(var + epsilon) * scale + bias + residual)``, computed in float32
    whatever the input's dtype and returned in ``dtype``. With ``train=True`` mean and (biased)
    variance are the batch's, and where ``batch_stats`` is mutable the running statistics move:
    ``running = momentum * running + (1 - momentum) * batch``, the variance unbiased as in PyTorch
    (a factor n / (n - 1) that flax's own BatchNorm leaves out). Under ``jit`` over a mesh the
    statistics are those of the global batch.

    Attributes:
        momentum: Share of the old running statistics that stays; PyTorch's momentum is one minus this.
        epsilon: Added to the variance.
        dtype: Of the output; the input's where None.
        frozen: Normalise by the running statistics, and leave them, even with ``train=True``.
        scale_init: Initialiser of ``scale``.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: jnp.dtype | None = None
    frozen: bool = False
    scale_init: jax.nn.initializers.Initializer = nn.initializers.ones

    @nn.compact
    def __call__(
        self, x: jax.Array, *, train: bool, residual: jax.Array | None = None, relu: bool = False
    ) -> jax.Array:
        """Maps ``(..., channels)`` to the same shape."""
        channels = x.shape[-1]
        scale = self.param("scale", self.scale_init, (channels,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,), jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, (channels,), jnp.float32)

        x32 = x.astype(jnp.float32)
        if train and not self.frozen:
            axes = tuple(range(x.ndim - 1))
            mean = jnp.mean(x32, axes)
            var = jnp.mean(jnp.square(x32 - mean), axes)
            if self.is_mutable_collection("batch_stats") and not self.is_initializing():
                n = x.size // channels
                unbiased = var * (n / max(n - 1, 1))
                running_mean.value = self.momentum * running_mean.value + (1 - self.momentum) * mean
                running_var.value = self.momentum * running_var.value + (1 - self.momentum) * unbiased
        else:
            mean, var = running_mean.value, running_var.value
        y = (x32 - mean) * (scale * jax.lax.rsqrt(var + self.epsilon)) + bias
        if residual is not None:
            y = y + residual
        y = nn.relu(y) if relu else y
        return y.astype(self.dtype or x.dtype)
