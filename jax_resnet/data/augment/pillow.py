"""Pillow's color operations on uint8 images in JAX, equal on every pixel.

Pillow computes some of them in floating point and cuts off the fraction. Where the exact result is a whole
number, what it gives depends on how the last bit was rounded, and XLA may round it otherwise (a product and a
sum in one instruction). So no product of floats is computed on the device: it comes from tables that NumPy
makes once with Pillow's own steps, and all else is in integers.
"""

import functools
import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["autocontrast", "blend", "dull", "equalize", "luma", "posterize", "smooth", "solarize"]

Enhancement = Literal["brightness", "color", "contrast", "sharpness"]


def luma(image: jax.Array) -> jax.Array:
    """Gray of ITU-R 601 as ``Image.convert("L")``: uint8 ``(H, W, C)`` to int32 ``(H, W, 1)``."""
    pixels = image.astype(jnp.int32)
    if image.shape[-1] == 1:
        return pixels
    red, green, blue = jnp.split(pixels, 3, axis=-1)
    return (19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16


def smooth(image: jax.Array) -> jax.Array:
    """``ImageFilter.SMOOTH``: means over 3x3 pixels, the center counted five times, in int32.

    Pixels at the border stay.
    """
    height, width = image.shape[:2]
    pixels = image.astype(jnp.int32)
    padded = jnp.pad(pixels, ((1, 1), (1, 1), (0, 0)))
    total = 4 * pixels
    for i in range(3):
        for j in range(3):
            total += padded[i : i + height, j : j + width]
    y, x = jnp.arange(height)[:, None, None], jnp.arange(width)[:, None]
    inner = (y > 0) & (y < height - 1) & (x > 0) & (x < width - 1)
    return jnp.where(inner, (2 * total + 13) // 26, pixels)  # total / 13, rounded


def dull(image: jax.Array, enhancement: Enhancement) -> jax.Array:
    """What ``ImageEnhance`` blends an image with, int32 of its shape.

    Black for brightness, the image in gray for color, its mean gray for contrast, the smoothed image for
    sharpness.
    """
    if enhancement == "brightness":
        return jnp.zeros(image.shape, jnp.int32)
    if enhancement == "color":
        return jnp.broadcast_to(luma(image), image.shape)
    if enhancement == "sharpness":
        return smooth(image)
    gray = luma(image)
    total = gray.sum(dtype=jnp.uint32)
    mean = (2 * total + gray.size) // (2 * gray.size)  # rounded, half up
    return jnp.broadcast_to(mean.astype(jnp.int32), image.shape)


def blend(dull: jax.Array, image: jax.Array, strength: float, stronger: jax.Array) -> jax.Array:
    """``Image.blend(dull, image, factor)``, uint8: ``dull + factor * (image - dull)``.

    Args:
        dull: int32, ``(H, W, C)``, 0 to 255.
        image: uint8, ``(H, W, C)``.
        strength: How far ``factor`` is from 1; a Python number, not traced.
        stronger: bool, ``()``: whether ``factor`` is ``1 + strength``, else ``1 - strength``.
    """
    weaker, more = (_products(factor) for factor in (1 - strength, 1 + strength))
    products = jnp.where(stronger, more, weaker)
    sums = dull.astype(jnp.float32) + products[image.astype(jnp.int32) - dull + 255]
    return jnp.clip(sums, 0, 255).astype(jnp.uint8)


def _products(factor: float) -> np.ndarray:
    """``factor * difference`` for differences from -255 to 255, float32."""
    return np.float32(factor) * np.arange(-255, 256, dtype=np.float32)


def posterize(image: jax.Array, dropped: int) -> jax.Array:
    """``ImageOps.posterize(image, 8 - dropped)``: the lowest bits set to 0."""
    return (image >> dropped) << dropped


def solarize(image: jax.Array, threshold: float) -> jax.Array:
    """``ImageOps.solarize(image, threshold)``: values from the threshold on inverted."""
    return jnp.where(image >= math.ceil(threshold), 255 - image, image)


def autocontrast(image: jax.Array) -> jax.Array:
    """``ImageOps.autocontrast(image)``: each channel stretched to 0..255, unless it has a single value."""
    pixels = image.astype(jnp.int32)
    low, high = pixels.min((0, 1)), pixels.max((0, 1))
    span = jnp.maximum(high - low, 1)
    above = pixels - low
    stretched, rest = jnp.divmod(255 * above, span)
    # Pillow multiplies and adds in double precision, which can end just below a whole number.
    first, steps, below = map(jnp.asarray, _autocontrast_rounding())
    step = above * steps[span] // span
    lost = below[first[span] + low * (steps[span] + 1) + step]
    stretched -= jnp.where(rest == 0, lost.astype(jnp.int32), 0)
    return jnp.where(high > low, stretched, pixels).astype(jnp.uint8)


@functools.cache
def _autocontrast_rounding() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where ``int(value * scale + offset)`` in double precision is one below the exact whole number.

    With ``span = high - low``, the exact result is a whole number for ``steps + 1`` values above ``low``,
    ``steps = gcd(255, span)``.

    Returns:
        Per span, int32 ``(256,)``: the first entry of the table, and ``steps``; and the table, int8 0 or 1,
        of entries ``first[span] + low * (steps[span] + 1) + step``.
    """
    first, steps, tables, size = np.zeros(256, np.int32), np.ones(256, np.int32), [], 0
    for span in range(1, 256):
        steps[span], first[span] = math.gcd(255, span), size
        scale = 255.0 / span
        low = np.arange(256 - span)[:, None]
        above = np.arange(steps[span] + 1) * span // steps[span]
        found = ((low + above) * scale + -low * scale).astype(np.int32)
        tables.append((255 * above // span - found).reshape(-1))
        size += tables[-1].size
    return first, steps, np.concatenate(tables).astype(np.int8)


def equalize(channel: jax.Array) -> jax.Array:
    """``ImageOps.equalize`` of one channel, uint8 ``(H, W)``: its values spread to be equally frequent."""
    counts = jnp.zeros(256, jnp.int32).at[channel.reshape(-1)].add(1)
    last = counts[channel.max()]
    step = (channel.size - last) // 255
    before = jnp.cumsum(counts) - counts
    table = jnp.clip((before + step // 2) // jnp.maximum(step, 1), 0, 255).astype(jnp.uint8)
    return jnp.where(step > 0, table[channel], channel)
