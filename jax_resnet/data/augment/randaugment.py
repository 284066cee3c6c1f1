"""RandAugment (Cubuk et al. 2020): a few operations, drawn for each image, all of one magnitude.

The fourteen operations of the paper's section 3 with the ranges of its TensorFlow code, on uint8 images.
Color operations equal Pillow's on every pixel. Geometry takes the nearest pixel, as Pillow does, and leaves
black what comes from outside.
"""

import jax
import jax.numpy as jnp

from jax_resnet.data.augment import pillow
from jax_resnet.errors import AugmentError

__all__ = ["OPS", "apply", "rand_augment"]

GEOMETRY = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
BLENDS: tuple[pillow.Enhancement, ...] = ("brightness", "color", "contrast", "sharpness")
OPS = ("identity", *GEOMETRY, *BLENDS, "posterize", "solarize", "autocontrast", "equalize")
MAX_MAGNITUDE = 30.0


def rand_augment(key: jax.Array, image: jax.Array, ops: int, magnitude: float) -> jax.Array:
    """Applies ``ops`` operations, each drawn from ``OPS``, each in one direction or the other.

    Args:
        key: Draws operations and directions.
        image: uint8, ``(H, W, 1)`` or ``(H, W, 3)``.
        ops: Number of operations, one after another.
        magnitude: 0 to 30; a Python number, not traced.

    Raises:
        AugmentError: The image is not uint8, or the magnitude is out of range.
    """
    if image.dtype != jnp.uint8:
        raise AugmentError(f"RandAugment is for uint8 images, not {image.dtype}")
    if not 0 <= magnitude <= MAX_MAGNITUDE:
        raise AugmentError(f"RandAugment's magnitude is from 0 to {MAX_MAGNITUDE:g}, not {magnitude}")
    for op_key in jax.random.split(key, ops):
        which_key, sign_key = jax.random.split(op_key)
        which = jax.random.randint(which_key, (), 0, len(OPS))
        image = apply(which, image, magnitude, jax.random.bernoulli(sign_key))
    return image


def apply(which: jax.Array, image: jax.Array, magnitude: float, positive: jax.Array) -> jax.Array:
    """Applies one operation.

    Geometry and blends share their work, since under ``vmap`` every branch is computed.

    Args:
        which: Its place in ``OPS``.
        image: uint8, ``(H, W, 1)`` or ``(H, W, 3)``.
        magnitude: 0 to 30; a Python number, not traced.
        positive: bool, the direction, for operations that have one.
    """
    amount = magnitude / MAX_MAGNITUDE
    results = {
        "identity": image,
        "geometry": geometry(which - OPS.index(GEOMETRY[0]), image, jnp.where(positive, amount, -amount)),
        "blend": blend(which - OPS.index(BLENDS[0]), image, 0.9 * amount, positive),
        "posterize": pillow.posterize(image, round(4 * amount)),
        "solarize": pillow.solarize(image, 255 * (1 - amount)),
        "autocontrast": pillow.autocontrast(image),
        "equalize": jax.vmap(pillow.equalize, in_axes=-1, out_axes=-1)(image),
    }
    group = [*["geometry"] * len(GEOMETRY), *["blend"] * len(BLENDS), *OPS[-4:]]
    places = jnp.asarray([list(results).index(name) for name in ["identity", *group]])
    return jnp.stack(list(results.values()))[places[which]]


def blend(which: jax.Array, image: jax.Array, strength: float, stronger: jax.Array) -> jax.Array:
    """The enhancement ``BLENDS[which]`` by a factor of ``1 + strength`` or ``1 - strength``."""
    dull = jnp.stack([pillow.dull(image, enhancement) for enhancement in BLENDS])
    return pillow.blend(dull[jnp.clip(which, 0, len(BLENDS) - 1)], image, strength, stronger)


def geometry(which: jax.Array, image: jax.Array, level: jax.Array) -> jax.Array:
    """Shears of up to 0.3, translations of up to 100/224 of the side, rotations of up to 30 degrees.

    Args:
        which: The place in ``GEOMETRY``.
        image: uint8, ``(H, W, C)``.
        level: -1 to 1.
    """
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
    y = jnp.arange(height, dtype=jnp.float32)[:, None] + 0.5 - height / 2
    x = jnp.arange(width, dtype=jnp.float32) + 0.5 - width / 2
    column = jnp.floor(xx * x + xy * y + x0 + width / 2).astype(jnp.int32)
    row = jnp.floor(yx * x + yy * y + y0 + height / 2).astype(jnp.int32)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    taken = image[jnp.clip(row, 0, height - 1), jnp.clip(column, 0, width - 1)]
    return jnp.where(inside[..., None], taken, 0).astype(jnp.uint8)
