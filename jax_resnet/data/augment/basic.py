"""What the papers on residual networks do to images: a random window, a mirror image, normalization."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp


def normalize(images: jax.Array, mean: Sequence[float], std: Sequence[float]) -> jax.Array:
    """Maps uint8 NHWC to ``(image / 255 - mean) / std``, float32, channel by channel."""
    scaled = images.astype(jnp.float32) / 255
    return (scaled - jnp.asarray(mean, jnp.float32)) / jnp.asarray(std, jnp.float32)


def random_crop(key: jax.Array, image: jax.Array, padding: int) -> jax.Array:
    """A window of the image's own size, anywhere in the image zero-padded by ``padding`` on every side."""
    padded = jnp.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    y, x = jax.random.randint(key, (2,), 0, 2 * padding + 1)
    return jax.lax.dynamic_slice(padded, (y, x, 0), image.shape)


def random_flip(key: jax.Array, image: jax.Array) -> jax.Array:
    """The image, or with probability one half its mirror image, left to right."""
    return jnp.where(jax.random.bernoulli(key), image[:, ::-1], image)
