"""The layers before the first residual block."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn


class Stem(NamedTuple):
    """Convolutions, the first of them strided, and a 3x3 max-pool of stride 2 or none.

    Attributes:
        kernels: Kernel size of each convolution.
        strides: Of the first convolution.
        padding: Of the first convolution; the others keep the size.
        pool_padding: Of the max-pool; None for no pooling.
    """

    kernels: tuple[int, ...]
    strides: int
    padding: int
    pool_padding: int | None


STEMS = {
    "cifar": Stem((3,), strides=1, padding=1, pool_padding=None),
    "cifar_1x1": Stem((1,), strides=1, padding=0, pool_padding=None),
    "imagenet": Stem((7,), strides=2, padding=3, pool_padding=1),
    # ResNet-C and -D (He et al. 2018, "Bag of tricks", figure 2b): the 7x7 as three 3x3.
    "imagenet_d": Stem((3, 3, 3), strides=2, padding=1, pool_padding=1),
    # A ResNeXt tutorial's slips, kept so that its weights can be read.
    "imagenet_blog": Stem((7,), strides=2, padding=4, pool_padding=0),
}


def as_images(images: jax.Array, dtype: jnp.dtype, *, least: int = 1) -> jax.Array:
    """Casts images to ``dtype``.

    Raises:
        ValueError: They are not ``(N, H, W, channels)``, or H or W is below ``least``.
    """
    if images.ndim != 4:
        raise ValueError(f"images are (N, H, W, channels), not of shape {images.shape}")
    height, width = images.shape[1:3]
    if min(height, width) < least:
        raise ValueError(
            f"images of {height}x{width} are too small for this network: pad them to {least}x{least} or more"
        )
    return images.astype(dtype)


def apply_stem(
    x: jax.Array,
    stem: Stem,
    width: int,
    *,
    conv: Callable[..., nn.Module],
    norm: Callable[..., nn.Module] | None,
    train: bool,
) -> jax.Array:
    """Maps images NHWC to ``(N, H', W', width)``; called inside a compact module, whose layers it makes.

    Without ``norm``, as in pre-activation networks, the output is left unactivated.
    """
    for i, kernel in enumerate(stem.kernels):
        last = i == len(stem.kernels) - 1
        strides, padding = (stem.strides, stem.padding) if i == 0 else (1, kernel // 2)
        suffix = str(i + 1) if len(stem.kernels) > 1 else ""
        features = width if last else width // 2
        x = conv(features, (kernel, kernel), strides=strides, padding=padding, name=f"stem_conv{suffix}")(x)
        if norm is not None:
            x = norm(name=f"stem_norm{suffix}")(x, train=train, relu=True)
        elif not last:
            x = nn.relu(x)
    if stem.pool_padding is not None:
        p = stem.pool_padding
        x = nn.max_pool(x, (3, 3), (2, 2), ((p, p), (p, p)))
    return x
