"""Two small networks for 28x28 digits, as tutorials on residual networks train them."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn

from jax_resnet.layers import BatchNorm, conv_general_dilated
from jax_resnet.models.blocks import BasicBlock
from jax_resnet.models.resnet import he_normal, head_init
from jax_resnet.models.stem import as_images


class MnistCNN(nn.Module):
    """Two convolutions and three linear layers, after LeNet-5 (LeCun et al. 1998).

    Attributes:
        num_classes: Outputs; 0 leaves out the head and returns the last hidden layer.
        dtype: In which the network computes; parameters and logits stay float32.
    """

    num_classes: int = 10
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, images: jax.Array, *, train: bool, features: bool = False
    ) -> jax.Array | tuple[jax.Array, ...]:
        """Maps images ``(N, 28, 28, channels)`` to logits ``(N, num_classes)``; ``train`` changes nothing.

        With ``features=True``, returns a tuple of both feature maps instead.
        """
        conv = partial(
            nn.Conv,
            kernel_size=(5, 5),
            padding=0,
            dtype=self.dtype,
            kernel_init=he_normal,
            conv_general_dilated=conv_general_dilated,
        )
        maps = []
        x = as_images(images, self.dtype, least=16)
        for i, width in enumerate((6, 16), 1):
            x = nn.max_pool(nn.relu(conv(width, name=f"conv{i}")(x)), (2, 2), (2, 2))
            maps.append(x)
        if features:
            return tuple(maps)
        # Channels first, so that the linear weights are PyTorch's unchanged.
        x = x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)
        x = nn.relu(nn.Dense(120, dtype=self.dtype, kernel_init=he_normal, name="dense1")(x))
        x = nn.relu(nn.Dense(84, dtype=self.dtype, kernel_init=he_normal, name="dense2")(x))
        wide = jnp.promote_types(jnp.float32, self.dtype)
        if self.num_classes == 0:
            return x.astype(wide)
        return nn.Dense(self.num_classes, dtype=wide, kernel_init=head_init, name="head")(x)


class MnistPreActResNet(nn.Module):
    """Pre-activation basic blocks under a hidden linear layer, with BatchNorm as Keras sets it.

    Unlike the paper's, its stem is activated, max-pools between the stages do the subsampling, and the
    projections see the block's input before activation.

    Attributes:
        stage_sizes: Blocks in each stage.
        widths: Channels of each stage.
        num_classes: Outputs; 0 leaves out the head and returns the hidden layer.
        dtype: In which the network computes; parameters, statistics and logits stay float32.
        norm_epsilon: Of every BatchNorm.
        norm_momentum: Of every BatchNorm: the share of the old running statistics that stays.
        folded: Each BatchNorm that follows a convolution is folded into it, see ``fold_batch_norm``.
    """

    stage_sizes: Sequence[int] = (2, 2, 2)
    widths: Sequence[int] = (16, 32, 64)
    num_classes: int = 10
    dtype: jnp.dtype = jnp.float32
    norm_epsilon: float = 1e-3
    norm_momentum: float = 0.99
    folded: bool = False

    @property
    def preactivation(self) -> bool:
        """As in ``ResNet``."""
        return True

    @nn.compact
    def __call__(
        self, images: jax.Array, *, train: bool, features: bool = False
    ) -> jax.Array | tuple[jax.Array, ...]:
        """Maps images ``(N, 28, 28, channels)`` to logits ``(N, num_classes)``.

        With ``features=True``, returns a tuple with each stage's feature map instead.
        """
        conv = partial(
            nn.Conv, dtype=self.dtype, kernel_init=he_normal, conv_general_dilated=conv_general_dilated
        )
        norm = partial(BatchNorm, momentum=self.norm_momentum, epsilon=self.norm_epsilon, dtype=self.dtype)
        maps = []
        x = as_images(images, self.dtype, least=2 ** (len(self.stage_sizes) - 1))
        x = nn.relu(conv(8, (3, 3), padding=1, name="stem_conv")(x))
        for i, (size, width) in enumerate(zip(self.stage_sizes, self.widths, strict=True), 1):
            if i > 1:
                x = nn.max_pool(x, (2, 2), (2, 2))
            for j in range(size):
                block = BasicBlock(
                    filters=width,
                    strides=1,
                    conv=conv,
                    norm=norm,
                    preactivation=True,
                    project_input=True,
                    folded=self.folded,
                    dtype=self.dtype,
                    name=f"stage{i}_block{j + 1}",
                )
                x = block(x, train=train)
            maps.append(x)
        if features:
            return tuple(maps)
        wide = jnp.promote_types(jnp.float32, self.dtype)
        x = x.reshape(x.shape[0], -1)
        x = nn.relu(nn.Dense(128, dtype=self.dtype, kernel_init=he_normal, name="dense1")(x))
        if self.num_classes == 0:
            return x.astype(wide)
        return nn.Dense(self.num_classes, dtype=wide, kernel_init=head_init, name="head")(x)
