"""Batch normalization (Ioffe and Szegedy 2015) with PyTorch's running statistics."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from jax_resnet.errors import ModelError
from jax_resnet.layers.dtypes import wide_dtype
from jax_resnet.layers.norm.fused import can_fuse, fused_normalize
from jax_resnet.layers.norm.normalize import affine, count, normalize
from jax_resnet.layers.norm.statistics import batch_axis_name

__all__ = ["BatchNorm"]


class BatchNorm(nn.Module):
    """Normalizes over every axis but the last, then optionally adds a residual and applies ReLU.

    ``y = relu((x - mean) / sqrt(var + epsilon) * scale + bias + residual)``, computed in float32 (float64
    for such input) and returned in ``dtype``.

    With ``train=True`` mean and biased variance are the batch's, and where ``batch_stats`` is mutable the
    running statistics move: ``running = momentum * running + (1 - momentum) * batch``. The variance that
    they average is unbiased as in PyTorch, a factor n / (n - 1) that Flax's own BatchNorm leaves out. With
    ``train=False`` the running statistics are used.

    Under ``jit`` over a mesh the statistics are those of the global batch. In ``shard_map`` and ``pmap``
    they are the device's own, or the global batch's within ``batch_statistics_over``.

    One value per channel has no variance: with ``train=True`` that is an error, as in PyTorch. An empty
    batch has no statistics: it leaves the running ones as they are.

    Attributes:
        momentum: Fraction of the old running statistics that is kept; PyTorch's momentum is one minus this.
        epsilon: Added to the variance.
        dtype: Dtype of the output; None: that of the input.
        frozen: Use the running statistics, and do not move them, even with ``train=True``.
        scale_init: Initializer of ``scale``.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: DTypeLike | None = None
    frozen: bool = False
    scale_init: jax.nn.initializers.Initializer = nn.initializers.ones

    @nn.compact
    def __call__(
        self, x: jax.Array, *, train: bool, residual: jax.Array | None = None, relu: bool = False
    ) -> jax.Array:
        """Maps ``(..., channels)`` to the same shape.

        Args:
            x: Input.
            train: Normalize by the batch's statistics.
            residual: Added before the ReLU; shape of ``x``.
            relu: Whether a ReLU follows.

        Raises:
            ModelError: ``train`` and one value per channel, or a residual of another shape.
        """
        if residual is not None and residual.shape != x.shape:
            raise ModelError(f"a residual of shape {residual.shape} cannot be added to {x.shape}")
        channels = x.shape[-1]
        scale = self.param("scale", self.scale_init, (channels,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,), jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, (channels,), jnp.float32)

        dtype = jnp.dtype(self.dtype or x.dtype)
        compute = wide_dtype(x.dtype)
        scale, bias = scale.astype(compute), bias.astype(compute)
        wide = x.astype(compute)
        wide_residual = None if residual is None else residual.astype(compute)
        if not train or self.frozen or 0 in x.shape:
            mean, var = running_mean.value.astype(compute), running_var.value.astype(compute)
            return affine(wide, mean, var, scale, bias, wide_residual, self.epsilon, relu).astype(dtype)

        axis_name = batch_axis_name()
        n = count(x, axis_name)
        if n == 1 and not self.is_initializing():
            raise ModelError(
                f"BatchNorm with train=True needs more than one value per channel, not an input of shape "
                f"{x.shape}: use a larger batch or larger images, or frozen=True"
            )
        if axis_name is None and can_fuse(x, residual, dtype):
            y, mean, var = fused_normalize(x, scale, bias, residual, self.epsilon, relu)
        else:
            y, mean, var = normalize(wide, scale, bias, wide_residual, self.epsilon, relu, axis_name)
        if self.is_mutable_collection("batch_stats") and not self.is_initializing():
            for running, batch in ((running_mean, mean), (running_var, var * (n / (n - 1)))):
                moved = batch
                if self.momentum:  # 0 times infinity would not be 0
                    moved = self.momentum * running.value.astype(batch.dtype) + (1 - self.momentum) * batch
                running.value = moved.astype(running.value.dtype)
        return y.astype(dtype)
