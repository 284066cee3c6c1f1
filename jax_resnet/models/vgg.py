"""VGG with BatchNorm for small images (Simonyan and Zisserman 2015, table 1; one linear layer as head)."""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from jax_resnet.layers import BatchNorm, conv_general_dilated
from jax_resnet.layers.dtypes import wide_dtype
from jax_resnet.models.activation import Activation, check_activation
from jax_resnet.models.folded import FoldedConv, convolve_and_activate
from jax_resnet.models.initializers import he_normal, head_init
from jax_resnet.models.limits import (
    check_classes,
    check_dtype,
    check_norm_options,
    check_stages,
    chosen_parts,
)
from jax_resnet.models.stem import as_images, check_image_channels

__all__ = ["VGG"]


class VGG(nn.Module):
    """Stages of 3x3 convolutions, each with BatchNorm and ReLU, each stage ending in a 2x2 max-pool.

    Attributes:
        stage_sizes: Convolutions in each stage.
        widths: Channels of each stage.
        num_classes: Outputs; 0 leaves out the head and returns the pooled features.
        act: The activation function. ReLU is computed together with the BatchNorm before it.
        frozen: Parts whose BatchNorm always uses, and never moves, its running statistics: any of
            "stage1", "stage2", ..., or "all" (True).
        dtype: dtype of the computation; parameters, statistics and logits stay float32.
        norm_momentum: Fraction of the old running statistics that every BatchNorm keeps per step.
        folded: Every BatchNorm is folded into its convolution, see ``fold_batch_norm``.
    """

    first_conv: ClassVar[str] = "stage1_conv1"

    stage_sizes: Sequence[int]
    widths: Sequence[int] = (64, 128, 256, 512, 512)
    num_classes: int = 10
    act: Activation = nn.relu
    frozen: bool | str | Collection[str] = ()
    dtype: DTypeLike = jnp.float32
    norm_momentum: float = 0.9
    folded: bool = False

    def __post_init__(self) -> None:
        check_stages(self.stage_sizes, self.widths, layers_per_unit=1)
        check_classes(self.num_classes)
        check_activation(self.act)
        check_dtype(self.dtype)
        check_norm_options(BatchNorm.epsilon, self.norm_momentum)
        chosen_parts("frozen", self.frozen, self.parts)
        super().__post_init__()

    @property
    def parts(self) -> list[str]:
        """The parts that ``frozen`` can name: the stages."""
        return [f"stage{i + 1}" for i in range(len(self.stage_sizes))]

    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Computes logits.

        Args:
            images: ``(N, H, W, channels)``, floating point, H and W at least ``2 ** stages``: 32.
            train: Normalize by the batch's statistics, and move ``batch_stats`` where it is mutable.

        Returns:
            Logits ``(N, num_classes)``, or pooled features ``(N, C)`` where ``num_classes`` is 0.

        Raises:
            ModelError: The images are too small for the pools, have another shape, or are integers.
        """
        return self._run(images, train=train)

    def features(self, images: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """Computes the feature maps of every stage, after its max-pool.

        Returns:
            ``{"stage1", "stage2", ...}``: 64, 128, 256, 512 and 512 channels at strides 2, 4, 8, 16 and 32.
        """
        return self._run(images, train=train, features=True)

    @nn.compact
    def _run(self, images: jax.Array, *, train: bool, features: bool = False) -> Any:
        conv: Callable[..., nn.Module] = partial(
            nn.Conv,
            kernel_size=(3, 3),
            padding=1,
            dtype=self.dtype,
            kernel_init=he_normal,
            conv_general_dilated=conv_general_dilated,
        )
        if self.folded:
            conv = partial(FoldedConv, kernel_size=(3, 3), padding=1, dtype=self.dtype)
        x = as_images(images, self.dtype, least=2 ** len(self.stage_sizes))
        check_image_channels(self, images)
        frozen = chosen_parts("frozen", self.frozen, self.parts)
        maps, layer = {}, 0
        for stage, size, width in zip(self.parts, self.stage_sizes, self.widths, strict=False):
            batch_norm = partial(
                BatchNorm, momentum=self.norm_momentum, dtype=self.dtype, frozen=stage in frozen
            )
            for _ in range(size):
                layer += 1
                norm = None if self.folded else batch_norm(name=f"{stage}_norm{layer}")
                layer_conv = conv(width, name=f"{stage}_conv{layer}")
                x = convolve_and_activate(layer_conv, norm, x, self.act, train=train)
            x = maps[stage] = nn.max_pool(x, (2, 2), (2, 2))
        if features:
            return maps
        wide = wide_dtype(self.dtype)
        x = jnp.mean(x.astype(wide), (1, 2))
        if self.num_classes == 0:
            return x
        return nn.Dense(self.num_classes, dtype=wide, kernel_init=head_init, name="head")(x)
