"""The convolution of a network whose BatchNorms are folded into it."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from jax_resnet.layers import conv_bias
from jax_resnet.models.activation import Activation, normalize_and_activate
from jax_resnet.models.initializers import he_normal

__all__ = ["FoldedConv", "convolve_and_activate"]


class FoldedConv(nn.Module):
    """A convolution with a bias, which adds a residual and applies ReLU in the same pass over memory.

    Attributes:
        features: Channels of the result.
        kernel_size: Height and width of the kernel.
        strides: Step of the window in both directions.
        padding: Zeros on every side.
        feature_group_count: Groups of channels.
        dtype: dtype of the computation.
        kernel_init: Initializer of the kernel, ``(height, width, channels per group, features)``.
    """

    features: int
    kernel_size: tuple[int, int]
    strides: int = 1
    padding: int = 0
    feature_group_count: int = 1
    dtype: DTypeLike = jnp.float32
    kernel_init: nn.initializers.Initializer = he_normal

    @nn.compact
    def __call__(self, x: jax.Array, *, residual: jax.Array | None = None, relu: bool = False) -> jax.Array:
        """Maps ``(N, H, W, C)`` to ``(N, H', W', features)``."""
        shape = (*self.kernel_size, x.shape[-1] // self.feature_group_count, self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return conv_bias(
            x.astype(self.dtype),
            kernel.astype(self.dtype),
            bias,
            residual,
            relu=relu,
            strides=(self.strides, self.strides),
            padding=((self.padding, self.padding),) * 2,
            groups=self.feature_group_count,
        )


def convolve_and_activate(
    conv: nn.Module,
    norm: nn.Module | None,
    x: jax.Array,
    act: Activation,
    *,
    train: bool,
    residual: jax.Array | None = None,
) -> jax.Array:
    """``act(norm(conv(x)) + residual)``; ``norm`` is None where there is none, as after a ``FoldedConv``."""
    if norm is not None:
        return normalize_and_activate(norm, conv(x), act, train=train, residual=residual)
    if isinstance(conv, FoldedConv):
        return conv(x, residual=residual, relu=True) if act is nn.relu else act(conv(x, residual=residual))
    y = conv(x)
    return act(y if residual is None else y + residual)
