"""VGG with BatchNorm for small images (Simonyan and Zisserman 2015, table 1; one linear layer as head)."""

from collections.abc import Collection, Sequence
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn

from jax_resnet.layers import BatchNorm, conv_general_dilated
from jax_resnet.models.fold import FoldedNorm
from jax_resnet.models.resnet import he_normal, head_init
from jax_resnet.models.stem import as_images


class VGG(nn.Module):
    """Stages of 3x3 convolutions, each with BatchNorm and ReLU, each stage ending in a 2x2 max-pool.

    Attributes:
        stage_sizes: Convolutions in each stage.
        widths: Channels of each stage.
        num_classes: Outputs; 0 leaves out the head and returns the pooled features.
        frozen: Parts whose BatchNorm never moves: any of "stage1", "stage2", ...
        dtype: In which the network computes; parameters, statistics and logits stay float32.
        norm_momentum: Of every BatchNorm: the share of the old running statistics that stays.
        folded: Every BatchNorm is folded into its convolution, see ``fold_batch_norm``.
    """

    stage_sizes: Sequence[int]
    widths: Sequence[int] = (64, 128, 256, 512, 512)
    num_classes: int = 10
    frozen: Collection[str] = ()
    dtype: jnp.dtype = jnp.float32
    norm_momentum: float = 0.9
    folded: bool = False

    def __post_init__(self) -> None:
        if len(self.stage_sizes) != len(self.widths):
            raise ValueError(f"{len(self.stage_sizes)} stages need as many widths, not {len(self.widths)}")
        stages = {f"stage{i + 1}" for i in range(len(self.stage_sizes))}
        if unknown := set(self.frozen) - stages:
            raise ValueError(f"frozen has no part {sorted(unknown)}; there are {sorted(stages)}")
        super().__post_init__()

    @nn.compact
    def __call__(
        self, images: jax.Array, *, train: bool, features: bool = False
    ) -> jax.Array | tuple[jax.Array, ...]:
        """Maps images ``(N, H, W, channels)``, H and W at least 32, to logits ``(N, num_classes)``.

        With ``features=True``, returns a tuple with each stage's feature map instead.

        Raises:
            ValueError: The images are too small for the pools.
        """
        conv = partial(
            nn.Conv,
            kernel_size=(3, 3),
            padding=1,
            dtype=self.dtype,
            kernel_init=he_normal,
            conv_general_dilated=conv_general_dilated,
        )
        x = as_images(images, self.dtype, least=2 ** len(self.stage_sizes))
        maps, layer = [], 0
        for i, (size, width) in enumerate(zip(self.stage_sizes, self.widths, strict=True), 1):
            batch_norm = partial(
                BatchNorm, momentum=self.norm_momentum, dtype=self.dtype, frozen=f"stage{i}" in self.frozen
            )
            norm = FoldedNorm if self.folded else batch_norm
            for _ in range(size):
                layer += 1
                x = conv(width, name=f"stage{i}_conv{layer}")(x)
                x = norm(name=f"stage{i}_norm{layer}")(x, train=train, relu=True)
            x = nn.max_pool(x, (2, 2), (2, 2))
            maps.append(x)
        if features:
            return tuple(maps)
        wide = jnp.promote_types(jnp.float32, self.dtype)
        x = jnp.mean(x.astype(wide), (1, 2))
        if self.num_classes == 0:
            return x
        return nn.Dense(self.num_classes, dtype=wide, kernel_init=head_init, name="head")(x)
