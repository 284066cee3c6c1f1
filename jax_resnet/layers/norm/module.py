"""Batch normalization (Ioffe and Szegedy 2015) with PyTorch's running statistics."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jax_resnet.layers.norm.fused import can_be_fused, fused_normalize
from jax_resnet.layers.norm.normalize import affine, count, normalize
from jax_resnet.layers.norm.statistics import batch_axis_name


class BatchNorm(nn.Module):
    """Normalizes over every axis but the last, then optionally adds a residual and applies ReLU.

    ``y = relu((x - mean) / sqrt(var + epsilon) * scale + bias + residual)``, computed in float32,
    or float64 for such input, and returned in ``dtype``. With ``train=True`` mean and (biased)
    variance are the batch's, and where ``batch_stats`` is mutable the running statistics move:
    ``running = momentum * running + (1 - momentum) * batch``, the variance unbiased as in PyTorch
    (a factor n / (n - 1) that flax's own BatchNorm leaves out). Under ``jit`` over a mesh the
    statistics are those of the global batch; in ``shard_map`` and ``pmap`` they are the device's own, or
    the global batch's within ``batch_statistics_over``.

    Attributes:
        momentum: Share of the old running statistics that stays; PyTorch's momentum is one minus this.
        epsilon: Added to the variance.
        dtype: Of the output; the input's where None.
        frozen: Normalize by the running statistics, and leave them, even with ``train=True``.
        scale_init: Initializer of ``scale``.
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

        dtype = jnp.dtype(self.dtype or x.dtype)
        compute = jnp.promote_types(x.dtype, jnp.float32)
        scale, bias = scale.astype(compute), bias.astype(compute)
        wide = x.astype(compute)
        wide_residual = None if residual is None else residual.astype(compute)
        if train and not self.frozen:
            axis_name = batch_axis_name()
            if axis_name is None and can_be_fused(x, residual, dtype):
                y, mean, var = fused_normalize(x, scale, bias, residual, self.epsilon, relu)
            else:
                y, mean, var = normalize(wide, scale, bias, wide_residual, self.epsilon, relu, axis_name)
            if self.is_mutable_collection("batch_stats") and not self.is_initializing():
                n = count(x, axis_name)
                unbiased = var * (n / max(n - 1, 1))
                for running, batch in ((running_mean, mean), (running_var, unbiased)):
                    moved = self.momentum * running.value + (1 - self.momentum) * batch
                    running.value = moved.astype(running.value.dtype)
        else:
            mean, var = running_mean.value.astype(compute), running_var.value.astype(compute)
            y = affine(wide, mean, var, scale, bias, wide_residual, self.epsilon, relu)
        return y.astype(dtype)
