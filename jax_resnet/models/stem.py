"""The images a network takes, and the layers before the first residual block."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from jax_resnet.errors import ModelError
from jax_resnet.models.activation import Activation
from jax_resnet.models.folded import convolve_and_activate

__all__ = ["STEMS", "Stem", "apply_stem", "as_images", "check_image_channels"]


class Stem(NamedTuple):
    """Convolutions, the first of them strided, and a 3x3 max-pool of stride 2 or none.

    Attributes:
        kernels: Kernel size of each convolution.
        strides: Strides of the first convolution.
        padding: Padding of the first convolution; the others keep the size.
        pool_padding: Padding of the max-pool; None for no pooling.
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


def as_images(images: jax.Array, dtype: DTypeLike, *, least: int = 1) -> jax.Array:
    """Casts images to ``dtype``.

    Args:
        images: ``(N, H, W, channels)``, floating point, normalized.
        dtype: dtype of the result.
        least: Smallest H and W that the network can take.

    Raises:
        ModelError: They are of another shape, obviously channels-first, too small, or integers.
    """
    if images.ndim != 4:
        raise ModelError(f"images are (N, H, W, channels), not of shape {images.shape}")
    _, height, width, channels = images.shape
    # An image 1 or 3 pixels high with many channels does not exist; channels-first images do.
    if height in (1, 3) and channels not in (1, 3) and min(width, channels) >= 8:
        raise ModelError(
            f"images are (N, H, W, channels), and {images.shape} looks like channels first: "
            "transpose them with images.transpose(0, 2, 3, 1)"
        )
    if min(height, width) < least:
        raise ModelError(
            f"images of {height}x{width} are too small for this network: pad them to {least}x{least} or more"
        )
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ModelError(
            f"images are normalized floating-point numbers, not {images.dtype}: "
            "jax_resnet.data.augment.normalize makes them from uint8"
        )
    return images.astype(dtype)


def check_image_channels(module: Any, images: jax.Array) -> None:
    """Checks that a network's weights are for images of this many channels.

    Args:
        module: The network, inside one of its methods.
        images: ``(N, H, W, channels)``.

    Raises:
        ModelError: They are for another number of channels.
    """
    if not module.has_variable("params", module.first_conv):
        return
    expected: int = module.get_variable("params", module.first_conv)["kernel"].shape[-2]
    if images.shape[-1] != expected:
        raise ModelError(
            f"the network's weights are for images of {expected} channels, and these have {images.shape[-1]}"
        )


def apply_stem(
    x: jax.Array,
    stem: Stem,
    width: int,
    *,
    conv: Callable[..., nn.Module],
    norm: Callable[..., nn.Module] | None,
    act: Activation,
    activate: bool,
    train: bool,
) -> jax.Array:
    """Maps images NHWC to ``(N, H', W', width)``; called inside a compact module, whose layers it makes.

    Args:
        x: The images.
        stem: The layers.
        width: Channels of the result.
        conv: Builds a convolution.
        norm: Builds a normalization; None for none, or where it is folded into the convolution.
        act: The activation function.
        activate: Whether the last convolution is normalized and activated, too.
        train: Normalize by the batch's statistics.
    """
    for i, kernel in enumerate(stem.kernels):
        last = i == len(stem.kernels) - 1
        strides, padding = (stem.strides, stem.padding) if i == 0 else (1, kernel // 2)
        suffix = str(i + 1) if len(stem.kernels) > 1 else ""
        features = width if last else max(width // 2, 1)
        layer = conv(features, (kernel, kernel), strides=strides, padding=padding, name=f"stem_conv{suffix}")
        if last and not activate:
            x = layer(x)
        else:
            normalization = None if norm is None else norm(name=f"stem_norm{suffix}")
            x = convolve_and_activate(layer, normalization, x, act, train=train)
    if stem.pool_padding is not None:
        p = stem.pool_padding
        x = nn.max_pool(x, (3, 3), (2, 2), ((p, p), (p, p)))
    return x
