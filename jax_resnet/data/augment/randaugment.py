"""RandAugment (Cubuk et al. 2020): a few operations, drawn for each image, all of one magnitude.

The fourteen operations of the paper's section 3 with the ranges of its TensorFlow code, on uint8 images, each
as Pillow does it: geometry takes the nearest pixel and leaves black what comes from outside.
"""

import jax
import jax.numpy as jnp

GEOMETRY = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
BLENDS = ("brightness", "color", "contrast", "sharpness")
OPS = ("identity", *GEOMETRY, *BLENDS, "posterize", "solarize", "autocontrast", "equalize")
HIGHEST = 30.0  # Magnitudes are on a scale from 0 to this.
LUMA = (0.299, 0.587, 0.114)  # ITU-R 601


def rand_augment(key: jax.Array, image: jax.Array, ops: int, magnitude: float) -> jax.Array:
    """The image after ``ops`` operations, each drawn from ``OPS``, its direction a coin's toss.

    Args:
        key: Draws them.
        image: uint8, ``(H, W, 1)`` or ``(H, W, 3)``.
        ops: How many, one after another.
        magnitude: 0 to 30.
    """
    for op_key in jax.random.split(key, ops):
        which_key, sign_key = jax.random.split(op_key)
        which = jax.random.randint(which_key, (), 0, len(OPS))
        sign = jnp.where(jax.random.bernoulli(sign_key), 1.0, -1.0)
        image = apply(which, image, sign * magnitude / HIGHEST)
    return image


def apply(which: jax.Array, image: jax.Array, level: jax.Array) -> jax.Array:
    """One operation.

    Geometry and blends share their work, since under ``vmap`` every branch is computed.

    Args:
        which: Its place in ``OPS``.
        image: uint8, ``(H, W, 1)`` or ``(H, W, 3)``.
        level: -1 to 1. Operations without a direction take its absolute value.
    """
    amount = jnp.abs(level)
    results = {
        "identity": image,
        "geometry": geometry(which - OPS.index(GEOMETRY[0]), image, level),
        "blend": blend(which - OPS.index(BLENDS[0]), image, 1 + 0.9 * level),
        "posterize": posterize(image, amount),
        "solarize": jnp.where(image >= 255 * (1 - amount), 255 - image, image),
        "autocontrast": autocontrast(image),
        "equalize": jax.vmap(equalize, in_axes=-1, out_axes=-1)(image),
    }
    group = [*["geometry"] * len(GEOMETRY), *["blend"] * len(BLENDS), *OPS[-4:]]
    places = jnp.asarray([list(results).index(name) for name in ["identity", *group]])
    return jnp.stack(list(results.values()))[places[which]]


def geometry(which: jax.Array, image: jax.Array, level: jax.Array) -> jax.Array:
    """Shears of up to 0.3, translations of up to 100/224 of the side, rotations of up to 30 degrees."""
    height, width = image.shape[:2]
    shear, turn = 0.3 * level, jnp.deg2rad(30.0) * level
    cos, sin = jnp.cos(turn), jnp.sin(turn)
    shift = 100 / 224 * level
    # Where the pixel at (x, y) from the center comes from: a row each of xx, xy, x0, yx, yy, y0.
    table = [
        [1.0, shear, 0.0, 0.0, 1.0, 0.0],
        [1.0, 0.0, 0.0, shear, 1.0, 0.0],
        [1.0, 0.0, shift * width, 0.0, 1.0, 0.0],
        [1.0, 0.0, 0.0, 0.0, 1.0, shift * height],
        [cos, -sin, 0.0, sin, cos, 0.0],
    ]
    rows = jnp.stack([jnp.stack([jnp.asarray(value, jnp.float32) for value in row]) for row in table])
    xx, xy, x0, yx, yy, y0 = rows[jnp.clip(which, 0, len(GEOMETRY) - 1)]
    y = jnp.arange(height)[:, None] + 0.5 - height / 2
    x = jnp.arange(width) + 0.5 - width / 2
    column = jnp.floor(xx * x + xy * y + x0 + width / 2).astype(jnp.int32)
    row = jnp.floor(yx * x + yy * y + y0 + height / 2).astype(jnp.int32)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    taken = image[jnp.clip(row, 0, height - 1), jnp.clip(column, 0, width - 1)]
    return jnp.where(inside[..., None], taken, 0).astype(jnp.uint8)


def blend(which: jax.Array, image: jax.Array, factor: jax.Array) -> jax.Array:
    """``dull + factor * (image - dull)``, dull being black, the greys, their mean, or the smoothed image."""
    pixels = image.astype(jnp.float32)
    gray = pixels if image.shape[-1] == 1 else (pixels @ jnp.asarray(LUMA))[..., None]
    dull = jnp.stack(
        [
            jnp.zeros_like(pixels),
            jnp.broadcast_to(jnp.round(gray), pixels.shape),
            jnp.broadcast_to(jnp.round(gray.mean()), pixels.shape),
            smooth(pixels),
        ]
    )[jnp.clip(which, 0, len(BLENDS) - 1)]
    return as_uint8(dull + factor * (pixels - dull))


def smooth(pixels: jax.Array) -> jax.Array:
    """Means over 3x3 pixels in which the middle one counts five times; the border stays."""
    height, width = pixels.shape[:2]
    padded = jnp.pad(pixels, ((1, 1), (1, 1), (0, 0)))
    shifted = [padded[i : i + height, j : j + width] for i in range(3) for j in range(3)]
    mean = (sum(shifted, 4 * pixels)) / 13
    return (
        mean.at[jnp.array([0, -1])]
        .set(pixels[jnp.array([0, -1])])
        .at[:, jnp.array([0, -1])]
        .set(pixels[:, jnp.array([0, -1])])
    )


def posterize(image: jax.Array, amount: jax.Array) -> jax.Array:
    """The pixels' highest bits: all 8 down to 4."""
    dropped = jnp.round(4 * amount).astype(jnp.uint8)
    return (image >> dropped) << dropped


def autocontrast(image: jax.Array) -> jax.Array:
    """Each channel stretched to 0..255, unless it has a single value."""
    pixels = image.astype(jnp.float32)
    low, high = pixels.min((0, 1)), pixels.max((0, 1))
    stretched = (pixels - low) * 255 / jnp.maximum(high - low, 1)
    return jnp.where(high > low, as_uint8(stretched), image)


def equalize(channel: jax.Array) -> jax.Array:
    """A channel ``(H, W)`` with its values spread so that each stretch of them is as frequent."""
    counts = jnp.zeros(256, jnp.int32).at[channel.reshape(-1)].add(1)
    last = counts[channel.max()]
    step = (channel.size - last) // 255
    before = jnp.cumsum(counts) - counts
    table = jnp.clip((before + step // 2) // jnp.maximum(step, 1), 0, 255).astype(jnp.uint8)
    return jnp.where(step > 0, table[channel], channel)


def as_uint8(pixels: jax.Array) -> jax.Array:
    """Rounded down, as Pillow does, after clipping to 0..255."""
    return jnp.clip(pixels, 0, 255).astype(jnp.uint8)
