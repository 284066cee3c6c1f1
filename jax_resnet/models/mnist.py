"""Two small networks for 28x28 digits, as tutorials on residual networks train them."""

import math
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from jax_resnet.errors import ModelError
from jax_resnet.layers import BatchNorm, conv_general_dilated
from jax_resnet.layers.dtypes import wide_dtype
from jax_resnet.models.activation import Activation, check_activation
from jax_resnet.models.blocks import BasicBlock
from jax_resnet.models.folded import FoldedConv
from jax_resnet.models.initializers import he_normal, head_init
from jax_resnet.models.limits import (
    check_classes,
    check_dtype,
    check_norm_options,
    check_stages,
    chosen_parts,
)
from jax_resnet.models.stem import as_images, check_image_channels

__all__ = ["MnistCNN", "MnistPreActResNet"]


class MnistCNN(nn.Module):
    """Two convolutions and three linear layers, after LeNet-5 (LeCun et al. 1998).

    Attributes:
        num_classes: Outputs; 0 leaves out the head and returns the last hidden layer.
        act: The activation function.
        dtype: dtype of the computation; parameters and logits stay float32.
    """

    first_conv: ClassVar[str] = "conv1"

    num_classes: int = 10
    act: Activation = nn.relu
    dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        check_classes(self.num_classes)
        check_activation(self.act)
        check_dtype(self.dtype)
        super().__post_init__()

    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Maps images ``(N, 28, 28, channels)`` to logits ``(N, num_classes)``; ``train`` changes nothing.

        Raises:
            ModelError: The images are below 16x16, have another shape, or are integers.
        """
        return self._run(images, train=train)

    def features(self, images: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """Computes both feature maps, each after its max-pool.

        Returns:
            ``{"stage1", "stage2"}``: 6 and 16 channels at strides 2 and 4 (12x12 and 4x4 of 28x28).
        """
        return self._run(images, train=train, features=True)

    @nn.compact
    def _run(self, images: jax.Array, *, train: bool, features: bool = False) -> Any:
        conv = partial(
            nn.Conv,
            kernel_size=(5, 5),
            padding=0,
            dtype=self.dtype,
            kernel_init=he_normal,
            conv_general_dilated=conv_general_dilated,
        )
        maps = {}
        x = as_images(images, self.dtype, least=16)
        check_image_channels(self, images)
        for i, width in enumerate((6, 16), 1):
            x = nn.max_pool(self.act(conv(width, name=f"conv{i}")(x)), (2, 2), (2, 2))
            maps[f"stage{i}"] = x
        if features:
            return maps
        # Channels first, so that the linear weights are PyTorch's unchanged.
        x = x.transpose(0, 3, 1, 2).reshape(x.shape[0], math.prod(x.shape[1:]))
        _check_image_size(self, images, x)
        x = self.act(nn.Dense(120, dtype=self.dtype, kernel_init=he_normal, name="dense1")(x))
        x = self.act(nn.Dense(84, dtype=self.dtype, kernel_init=he_normal, name="dense2")(x))
        wide = wide_dtype(self.dtype)
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
        act: The activation function. ReLU is computed together with the BatchNorm before it.
        frozen: Parts whose BatchNorm always uses, and never moves, its running statistics: any of "stem"
            (which has none), "stage1", "stage2", ..., or "all" (True).
        dtype: dtype of the computation; parameters, statistics and logits stay float32.
        norm_epsilon: Epsilon of every BatchNorm.
        norm_momentum: Fraction of the old running statistics that every BatchNorm keeps per step.
        folded: Each BatchNorm that follows a convolution is folded into it, see ``fold_batch_norm``.
    """

    first_conv: ClassVar[str] = "stem_conv"

    stage_sizes: Sequence[int] = (2, 2, 2)
    widths: Sequence[int] = (16, 32, 64)
    num_classes: int = 10
    act: Activation = nn.relu
    frozen: bool | str | Collection[str] = ()
    dtype: DTypeLike = jnp.float32
    norm_epsilon: float = 1e-3
    norm_momentum: float = 0.99
    folded: bool = False

    def __post_init__(self) -> None:
        check_stages(self.stage_sizes, self.widths)
        check_classes(self.num_classes)
        check_activation(self.act)
        check_dtype(self.dtype)
        check_norm_options(self.norm_epsilon, self.norm_momentum)
        chosen_parts("frozen", self.frozen, self.parts)
        super().__post_init__()

    @property
    def parts(self) -> list[str]:
        """The parts that ``frozen`` can name."""
        return ["stem", *(f"stage{i + 1}" for i in range(len(self.stage_sizes)))]

    @property
    def preactivation(self) -> bool:
        """True, as in a ``ResNet`` of this kind."""
        return True

    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Maps images ``(N, 28, 28, channels)`` to logits ``(N, num_classes)``.

        Raises:
            ModelError: The images are too small for the pools, have another shape, or are integers.
        """
        return self._run(images, train=train)

    def features(self, images: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """Computes the feature maps of the stem and of every stage.

        Returns:
            ``{"stem", "stage1", "stage2", "stage3"}``: 8, 16, 32 and 64 channels at strides 1, 1, 2 and 4.
        """
        return self._run(images, train=train, features=True)

    @nn.compact
    def _run(self, images: jax.Array, *, train: bool, features: bool = False) -> Any:
        conv = partial(
            nn.Conv, dtype=self.dtype, kernel_init=he_normal, conv_general_dilated=conv_general_dilated
        )
        norm = partial(BatchNorm, momentum=self.norm_momentum, epsilon=self.norm_epsilon, dtype=self.dtype)
        x = as_images(images, self.dtype, least=2 ** (len(self.stage_sizes) - 1))
        check_image_channels(self, images)
        x = self.act(conv(8, (3, 3), padding=1, name="stem_conv")(x))
        maps = {"stem": x}
        frozen = chosen_parts("frozen", self.frozen, self.parts)
        for i, (size, width) in enumerate(zip(self.stage_sizes, self.widths, strict=False), 1):
            if i > 1:
                x = nn.max_pool(x, (2, 2), (2, 2))
            for j in range(size):
                block = BasicBlock(
                    filters=width,
                    strides=1,
                    conv=partial(FoldedConv, dtype=self.dtype) if self.folded else conv,
                    norm=partial(norm, frozen=f"stage{i}" in frozen),
                    preactivation=True,
                    project_input=True,
                    act=self.act,
                    folded=self.folded,
                    dtype=self.dtype,
                    name=f"stage{i}_block{j + 1}",
                )
                x = block(x, train=train)
            maps[f"stage{i}"] = x
        if features:
            return maps
        wide = wide_dtype(self.dtype)
        x = x.reshape(x.shape[0], math.prod(x.shape[1:]))
        _check_image_size(self, images, x)
        x = self.act(nn.Dense(128, dtype=self.dtype, kernel_init=he_normal, name="dense1")(x))
        if self.num_classes == 0:
            return x.astype(wide)
        return nn.Dense(self.num_classes, dtype=wide, kernel_init=head_init, name="head")(x)


def _check_image_size(module: nn.Module, images: jax.Array, x: jax.Array) -> None:
    """Checks that the weights are for images of this size, of which the first linear layer sees every pixel.

    Args:
        module: The network, inside one of its methods.
        images: ``(N, H, W, channels)``.
        x: What the layer gets, ``(N, features)``.

    Raises:
        ModelError: They are for another size.
    """
    if not module.has_variable("params", "dense1"):
        return
    if x.shape[-1] != module.get_variable("params", "dense1")["kernel"].shape[0]:
        height, width = images.shape[1:3]
        raise ModelError(f"the network's weights are for images of another size than {height}x{width}")
