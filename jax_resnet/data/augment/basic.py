"""The augmentation of the papers on residual networks: a random crop, a flip, normalization."""

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from jax_resnet.errors import AugmentError

__all__ = [
    "PadMode",
    "alternating_flips",
    "check_scale",
    "mean_image",
    "normalize",
    "random_crop",
    "random_flip",
]

PadMode = Literal["constant", "reflect"]
Statistic = Sequence[float] | np.ndarray | jax.Array


def check_scale(images: jax.Array | np.ndarray) -> None:
    """Checks that images have a scale: uint8 from 0 to 255, or floats from 0 to 1.

    Floats are looked at where their values are known. Inside ``jax.jit`` they are not: values out of range
    go unnoticed there.

    Raises:
        AugmentError: They have not.
    """
    if images.dtype == jnp.uint8:
        return
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise AugmentError(f"images are uint8 (0 to 255) or floats (0 to 1), not {images.dtype}")
    if isinstance(images, jax.core.Tracer) or not images.size:
        return
    if not bool(((images >= 0) & (images <= 1)).all()):
        if np.isnan(images).any():
            raise AugmentError(f"images of {images.dtype} have values from 0 to 1, not NaN")
        low, high = float(images.min()), float(images.max())
        raise AugmentError(
            f"images of {images.dtype} have values from 0 to 1, not from {low:g} to {high:g}: "
            "divide by 255, or leave them uint8"
        )


def normalize(images: jax.Array | np.ndarray, mean: Statistic, std: Statistic) -> jax.Array:
    """Maps images ``(..., H, W, C)`` to ``(scaled - mean) / std``, float32.

    ``scaled`` is in [0, 1]: uint8 images are divided by 255, floats are in [0, 1] already.

    Args:
        images: uint8, or floats from 0 to 1 (see ``check_scale``).
        mean: Per channel, or of every pixel, ``(H, W, C)`` (see ``mean_image``), in [0, 1] units.
        std: Per channel, in the same units.

    Raises:
        AugmentError: Images of another dtype, or known values out of range.
    """
    check_scale(images)
    scaled = jnp.asarray(images, jnp.float32)
    if images.dtype == jnp.uint8:
        scaled = scaled / 255
    return (scaled - jnp.asarray(mean, jnp.float32)) / jnp.asarray(std, jnp.float32)


def mean_image(images: np.ndarray) -> np.ndarray:
    """The mean of every pixel in [0, 1] units, float32 ``(H, W, C)``, of uint8 images ``(N, H, W, C)``.

    He et al. 2015 (section 4.2) subtract it, and divide by nothing: ``normalize(images, mean, (1.0,))``.
    """
    if images.dtype != np.uint8:
        raise AugmentError(f"the mean is taken of uint8 images, not {images.dtype}")
    return (images.mean(0, dtype=np.float64) / 255).astype(np.float32)


def random_crop(key: jax.Array, image: jax.Array, padding: int, mode: PadMode = "constant") -> jax.Array:
    """A window of the image's own size, anywhere in the image padded by ``padding`` on every side.

    Args:
        key: Draws the place.
        image: ``(H, W, C)``.
        padding: In pixels.
        mode: "constant" pads with zeros, "reflect" with the image mirrored at its border pixels
            (``abcd`` to ``cbabcdcb``).
    """
    padded = jnp.pad(image, ((padding, padding), (padding, padding), (0, 0)), mode)
    y, x = jax.random.randint(key, (2,), 0, 2 * padding + 1)
    return jax.lax.dynamic_slice(padded, (y, x, 0), image.shape)


def random_flip(key: jax.Array, image: jax.Array) -> jax.Array:
    """``image (H, W, C)``, or with probability one half its mirror image, left to right."""
    return jnp.where(jax.random.bernoulli(key), image[:, ::-1], image)


def alternating_flips(index: jax.Array, epoch: jax.Array, seed: int = 0) -> jax.Array:
    """Which images to flip so that every image is flipped in every other epoch.

    A random half is flipped in the first epoch, the other half in the second, and so on (Jordan 2024,
    "94% on CIFAR-10 in 3.29 seconds", section 3.6): two epochs see every image in both ways, where random
    flips leave half of the images as they were.

    Args:
        index: Which example of the data set each image is, int32 ``(N,)``.
        epoch: int32, ``()`` or ``(N,)``.
        seed: Chooses the half.

    Returns:
        bool, ``(N,)``: a function of index, parity of the epoch, and seed alone.
    """
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), index)
    return jax.vmap(jax.random.bernoulli)(keys) ^ (epoch % 2 == 1)
