"""A shallow residual network that trains to 94% on CIFAR-10 in minutes, after Jordan 2024."""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from jax_resnet.layers import BatchNorm, conv_general_dilated
from jax_resnet.layers.dtypes import wide_dtype
from jax_resnet.layers.pool import max_pool_2x2
from jax_resnet.models.activation import Activation, check_activation, gelu, normalize_and_activate
from jax_resnet.models.folded import FoldedConv, convolve_and_activate
from jax_resnet.models.initializers import identity_init, torch_conv_init
from jax_resnet.models.limits import (
    check_channels,
    check_classes,
    check_dtype,
    check_norm_options,
    check_widths,
    chosen_parts,
)
from jax_resnet.models.stem import as_images, check_image_channels

__all__ = ["WhitenedResNet"]


class WhitenedResNet(nn.Module):
    """airbench94's network (Jordan 2024, "94% on CIFAR-10 in 3.29 seconds on a single GPU", section 3.1).

    A 2x2 convolution, which ``whitening_kernel`` is meant to initialize; per stage a 3x3 convolution, a 2x2
    max-pool, BatchNorm, activation, and a second 3x3 convolution with BatchNorm and activation; a max-pool
    over what is left, and a linear layer. Convolutions start as the identity. With ``residual`` the second
    convolution of every stage has an identity shortcut, which the paper's network of this size has not.

    Attributes:
        widths: Channels of each stage.
        num_classes: Outputs; 0 leaves out the head and returns the pooled features.
        stem_width: Channels of the first convolution; 24 are all directions of a 2x2 RGB patch and their
            negatives.
        residual: Whether the second convolution of a stage has a shortcut.
        act: The activation function; ReLU is computed together with the BatchNorm.
        frozen: Parts whose BatchNorm always uses, and never moves, its running statistics: any of "stem"
            (which has none), "stage1", "stage2", ..., or "all" (True).
        dtype: dtype of the computation; parameters, statistics and logits stay float32.
        norm_epsilon: Epsilon of every BatchNorm.
        norm_momentum: Fraction of the old running statistics that every BatchNorm keeps per step.
        folded: Each BatchNorm is folded into the convolution before it, see ``fold_batch_norm``.
    """

    first_conv: ClassVar[str] = "stem_conv"

    widths: Sequence[int] = (64, 256, 256)
    num_classes: int = 10
    stem_width: int = 24
    residual: bool = True
    act: Activation = gelu
    frozen: bool | str | Collection[str] = ()
    dtype: DTypeLike = jnp.float32
    norm_epsilon: float = 1e-5
    norm_momentum: float = 0.6
    folded: bool = False

    def __post_init__(self) -> None:
        check_channels("stem_width", self.stem_width)
        check_widths(self.widths)
        check_norm_options(self.norm_epsilon, self.norm_momentum)
        check_classes(self.num_classes)
        check_activation(self.act)
        check_dtype(self.dtype)
        chosen_parts("frozen", self.frozen, self.parts)
        super().__post_init__()

    @property
    def parts(self) -> list[str]:
        """The parts that ``frozen`` can name."""
        return ["stem", *(f"stage{i}" for i in range(1, len(self.widths) + 1))]

    @property
    def head_init(self) -> nn.initializers.Initializer:
        """Initializer of the head. Small logits train faster: their deviation is near 1 / sqrt(width)."""
        return nn.initializers.variance_scaling(1 / self.widths[-1], "fan_in", "uniform")

    @property
    def pooled_norms(self) -> tuple[str, ...]:
        """Names of the BatchNorms between which and their convolution a max-pool stands."""
        return tuple(f"stage{i}_norm1" for i in range(1, len(self.widths) + 1))

    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Maps images ``(N, H, W, channels)`` to logits ``(N, num_classes)``, float32.

        Raises:
            ModelError: The images are too small for the pools, have another shape, or are integers.
        """
        return self._run(images, train=train)

    def features(self, images: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """Computes the feature maps of the stem and of every stage.

        Returns:
            ``{"stem", "stage1", "stage2", "stage3"}``: 24, 64, 256 and 256 channels; of 32x32 images 31x31,
            15x15, 7x7 and 3x3 pixels.
        """
        return self._run(images, train=train, features=True)

    @nn.compact
    def _run(self, images: jax.Array, *, train: bool, features: bool = False) -> Any:
        conv = partial(nn.Conv, dtype=self.dtype, conv_general_dilated=conv_general_dilated)
        x = as_images(images, self.dtype, least=2 ** len(self.widths) + 1)
        check_image_channels(self, images)
        stem = conv(self.stem_width, (2, 2), padding=0, kernel_init=torch_conv_init, name="stem_conv")
        maps = {"stem": self.act(stem(x))}
        x = maps["stem"]
        for i, width in enumerate(self.widths, 1):
            x = maps[f"stage{i}"] = self._stage(f"stage{i}", width, x, train=train)
        if features:
            return maps
        wide = wide_dtype(self.dtype)
        x = jnp.max(x, (1, 2)).astype(wide)
        if self.num_classes == 0:
            return x
        head = nn.Dense(self.num_classes, use_bias=False, dtype=wide, kernel_init=self.head_init, name="head")
        return head(x)

    @nn.nowrap
    def _stage(self, name: str, width: int, x: jax.Array, *, train: bool) -> jax.Array:
        conv: Callable[..., nn.Module] = partial(
            nn.Conv, use_bias=False, dtype=self.dtype, conv_general_dilated=conv_general_dilated
        )
        if self.folded:
            conv = partial(FoldedConv, dtype=self.dtype)
        conv = partial(conv, width, (3, 3), padding=1, kernel_init=identity_init)
        x = max_pool_2x2(conv(name=f"{name}_conv1")(x))
        norm = self._norm(name, 1)
        x = self.act(x) if norm is None else normalize_and_activate(norm, x, self.act, train=train)
        shortcut = x if self.residual else None
        conv2, norm2 = conv(name=f"{name}_conv2"), self._norm(name, 2)
        return convolve_and_activate(conv2, norm2, x, self.act, train=train, residual=shortcut)

    @nn.nowrap
    def _norm(self, stage: str, number: int) -> nn.Module | None:
        """A normalization; None where it is folded into the convolution before it."""
        if self.folded:
            return None
        frozen = stage in chosen_parts("frozen", self.frozen, self.parts)
        name = f"{stage}_norm{number}"
        return BatchNorm(self.norm_momentum, self.norm_epsilon, self.dtype, frozen=frozen, name=name)
