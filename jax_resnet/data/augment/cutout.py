"""Cutout (DeVries and Taylor 2017): a square of the image is removed."""

import jax
import jax.numpy as jnp

__all__ = ["cutout", "random_rectangle"]


def random_rectangle(
    key: jax.Array, shape: tuple[int, ...], height: jax.Array, width: jax.Array
) -> jax.Array:
    """A mask of a rectangle around a pixel drawn from all of the image, cut off where the image ends.

    Args:
        key: Draws the pixel.
        shape: ``(H, W)`` of the image.
        height: Height of the rectangle in pixels, an integer.
        width: Width of the rectangle in pixels, an integer.

    Returns:
        bool, ``(H, W)``: true inside.
    """
    y_key, x_key = jax.random.split(key)
    top = jax.random.randint(y_key, (), 0, shape[0]) - height // 2
    left = jax.random.randint(x_key, (), 0, shape[1]) - width // 2
    rows, columns = jnp.arange(shape[0])[:, None], jnp.arange(shape[1])
    return (rows >= top) & (rows < top + height) & (columns >= left) & (columns < left + width)


def cutout(key: jax.Array, image: jax.Array, size: int) -> jax.Array:
    """A normalized image ``(H, W, C)`` with a square of side ``size`` set to 0, the mean color.

    Its center is any pixel, so that near the border part of it lies outside (section 3.2 of the paper, which
    found that better than a square that is always whole).
    """
    inside = random_rectangle(key, image.shape[:2], jnp.asarray(size), jnp.asarray(size))
    return jnp.where(inside[..., None], jnp.zeros((), image.dtype), image)
