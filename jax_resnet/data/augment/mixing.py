"""Mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019): two images and their labels in one.

An image's partner is the one before it in the batch. How they mix is drawn from the image's own key.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jax_resnet.data.augment.cutout import square

Mix = Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


def mixup(key: jax.Array, image: jax.Array, other: jax.Array, alpha: float) -> tuple[jax.Array, jax.Array]:
    """``share * image + (1 - share) * other`` with ``share`` from Beta(alpha, alpha), and the share."""
    share = jax.random.beta(key, alpha, alpha).astype(image.dtype)
    return share * image + (1 - share) * other, share


def cutmix(key: jax.Array, image: jax.Array, other: jax.Array, alpha: float) -> tuple[jax.Array, jax.Array]:
    """The image with a rectangle of ``other``'s in it, and the share of pixels that stayed its own.

    The rectangle has the image's aspect and, before the border cuts it off, the share ``1 - s`` of its area,
    ``s`` from Beta(alpha, alpha).
    """
    share_key, place_key = jax.random.split(key)
    side = jnp.sqrt(1 - jax.random.beta(share_key, alpha, alpha))
    height, width = ((side * length).astype(jnp.int32) for length in image.shape[:2])
    inside = square(place_key, image.shape[:2], height, width)
    return jnp.where(inside[..., None], other, image), 1 - inside.mean(dtype=image.dtype)


def make_mix(num_classes: int, *, mixup_alpha: float = 0.0, cutmix_alpha: float = 0.0) -> Mix | None:
    """Mixes every image of a batch with another.

    Args:
        num_classes: Of the labels.
        mixup_alpha: Of mixup's Beta distribution; 0 for no mixup.
        cutmix_alpha: Likewise. With both, each image takes one or the other with equal probability.

    Returns:
        A function from keys ``(N,)``, float images ``(N, H, W, C)`` and int labels ``(N,)`` to images and
        shares of the classes ``(N, num_classes)``, which add up to 1. None where there is nothing to do.
    """
    ways = [(mixup, mixup_alpha), (cutmix, cutmix_alpha)]
    chosen = [(way, alpha) for way, alpha in ways if alpha]
    if not chosen:
        return None

    def one(key: jax.Array, image: jax.Array, other: jax.Array) -> tuple[jax.Array, jax.Array]:
        which_key, key = jax.random.split(jax.random.fold_in(key, 2))
        mixed = [way(key, image, other, alpha) for way, alpha in chosen]
        if len(mixed) == 1:
            return mixed[0]
        first = jax.random.bernoulli(which_key)
        return jax.tree.map(lambda a, b: jnp.where(first, a, b), *mixed)

    def mix(keys: jax.Array, images: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
        images, share = jax.vmap(one)(keys, images, jnp.roll(images, 1, axis=0))
        own, other = (jax.nn.one_hot(x, num_classes) for x in (labels, jnp.roll(labels, 1)))
        return images, share[:, None] * own + (1 - share[:, None]) * other

    return mix
