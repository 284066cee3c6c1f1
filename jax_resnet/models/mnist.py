"""Two small networks for 28x28 digits, as tutorials on residual networks train them."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn

from jax_resnet.layers import BatchNorm, conv_general_dilated
from jax_resnet.models.blocks import BasicBlock
from jax_resnet.models.resnet import he_normal, head_init


class MnistCNN(nn.Module):
    """Two convolutions and three linear layers, after LeNet-5 (LeCun et al. 1998)."""

    num_classes: int = 10
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Maps images ``(N, 28, 28, 1)`` to logits ``(N, num_classes)``; ``train`` changes nothing."""
        conv = partial(
            nn.Conv,
            padding=0,
            dtype=self.dtype,
            kernel_init=he_normal,
            conv_general_dilated=conv_general_dilated,
        )
        x = images.astype(self.dtype)
        x = nn.max_pool(nn.relu(conv(6, (5, 5), name="conv1")(x)), (2, 2), (2, 2))
        x = nn.max_pool(nn.relu(conv(16, (5, 5), name="conv2")(x)), (2, 2), (2, 2))
        # Channels first, so that the linear weights are PyTorch's unchanged.
        x = x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)
        x = nn.relu(nn.Dense(120, dtype=self.dtype, kernel_init=he_normal, name="dense1")(x))
        x = nn.relu(nn.Dense(84, dtype=self.dtype, kernel_init=he_normal, name="dense2")(x))
        if self.num_classes == 0:
            return x.astype(jnp.promote_types(jnp.float32, self.dtype))
        wide = jnp.promote_types(jnp.float32, self.dtype)
        return nn.Dense(self.num_classes, dtype=wide, kernel_init=head_init, name="head")(x)


class MnistPreActResNet(nn.Module):
    """Pre-activation basic blocks under a hidden linear layer (Keras tutorial; its BatchNorm epsilon)."""

    stage_sizes: Sequence[int] = (2, 2, 2)
    widths: Sequence[int] = (16, 32, 64)
    num_classes: int = 10
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Maps images ``(N, 28, 28, 1)`` to logits ``(N, num_classes)``."""
        conv = partial(
            nn.Conv, dtype=self.dtype, kernel_init=he_normal, conv_general_dilated=conv_general_dilated
        )
        norm = partial(BatchNorm, dtype=self.dtype, epsilon=1e-3)
        x = conv(8, (3, 3), padding=1, name="stem_conv")(images.astype(self.dtype))
        for i, (size, width) in enumerate(zip(self.stage_sizes, self.widths, strict=True)):
            for j in range(size):
                block = BasicBlock(
                    filters=width,
                    strides=2 if i > 0 and j == 0 else 1,
                    conv=conv,
                    norm=norm,
                    preactivation=True,
                    dtype=self.dtype,
                    name=f"stage{i + 1}_block{j + 1}",
                )
                x = block(x, train=train)
        wide = jnp.promote_types(jnp.float32, self.dtype)
        x = x.reshape(x.shape[0], -1)
        x = nn.relu(nn.Dense(128, dtype=self.dtype, kernel_init=he_normal, name="dense1")(x))
        if self.num_classes == 0:
            return x.astype(wide)
        return nn.Dense(self.num_classes, dtype=wide, kernel_init=head_init, name="head")(x)
