"""VGG with BatchNorm for small images (Simonyan and Zisserman 2015, table 1; one linear layer as head)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from jax_resnet.layers import BatchNorm, conv_general_dilated
from jax_resnet.models.resnet import he_normal, head_init


class VGG(nn.Module):
    """Stages of 3x3 convolutions, each with BatchNorm and ReLU, each stage ending in a 2x2 max-pool.

    Attributes:
        stage_sizes: Convolutions in each stage.
        widths: Channels of each stage.
        num_classes: Outputs; 0 leaves out the head and returns the pooled features.
        frozen: Parts whose BatchNorm never moves: any of "stage1", "stage2", ...
        dtype: In which the network computes; parameters, statistics and logits stay float32.
    """

    stage_sizes: Sequence[int]
    widths: Sequence[int] = (64, 128, 256, 512, 512)
    num_classes: int = 10
    frozen: Sequence[str] = ()
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, images: jax.Array, *, train: bool, features: bool = False
    ) -> jax.Array | tuple[jax.Array, ...]:
        """Maps images ``(N, H, W, channels)``, H and W at least 32, to logits ``(N, num_classes)``.

        With ``features=True``, returns a tuple with each stage's feature map instead.

        Raises:
            ValueError: The images are too small for the five pools.
        """
        if min(images.shape[1:3]) < 2 ** len(self.stage_sizes):
            least = 2 ** len(self.stage_sizes)
            raise ValueError(
                f"VGG halves its input {len(self.stage_sizes)} times: images of "
                f"{images.shape[1]}x{images.shape[2]} are too small, pad them to {least}x{least} or more"
            )
        x = images.astype(self.dtype)
        maps, layer = [], 0
        for i, (size, width) in enumerate(zip(self.stage_sizes, self.widths, strict=True), 1):
            for _ in range(size):
                layer += 1
                x = nn.Conv(
                    width,
                    (3, 3),
                    padding=1,
                    dtype=self.dtype,
                    kernel_init=he_normal,
                    conv_general_dilated=conv_general_dilated,
                    name=f"conv{layer}",
                )(x)
                norm = BatchNorm(dtype=self.dtype, frozen=f"stage{i}" in self.frozen, name=f"norm{layer}")
                x = norm(x, train=train, relu=True)
            x = nn.max_pool(x, (2, 2), (2, 2))
            maps.append(x)
        if features:
            return tuple(maps)
        wide = jnp.promote_types(jnp.float32, self.dtype)
        x = jnp.mean(x.astype(wide), (1, 2))
        if self.num_classes == 0:
            return x
        return nn.Dense(self.num_classes, dtype=wide, kernel_init=head_init, name="head")(x)
