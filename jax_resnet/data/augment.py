"""What happens to images on the device, inside the jitted step: uint8 in, normalised float32 out."""

from collections.abc import Callable, Sequence

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


def make_augment(
    mean: Sequence[float], std: Sequence[float], *, crop_padding: int = 4, flip: bool = True
) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """The augmentation of He et al. 2015, section 4.2: random crop, random flip, normalisation.

    Pixels outside the image are black, as torchvision's padding before normalisation has them.

    Args:
        mean: Per channel, in [0, 1] units.
        std: Likewise.
        crop_padding: Of ``random_crop``; 0 for none.
        flip: Whether to flip.

    Returns:
        A function from keys ``(N,)`` and uint8 images ``(N, H, W, C)`` to float32 images: each image's
        outcome depends on its own key alone.
    """

    def one(key: jax.Array, image: jax.Array) -> jax.Array:
        crop_key, flip_key = jax.random.split(key)
        if crop_padding:
            image = random_crop(crop_key, image, crop_padding)
        if flip:
            image = random_flip(flip_key, image)
        return image

    return lambda keys, images: normalize(jax.vmap(one)(keys, images), mean, std)
