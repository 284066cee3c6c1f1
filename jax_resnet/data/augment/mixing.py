"""Mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019): two images and their labels in one.

An image's partner is the one before it in the batch. How they mix is drawn from the image's own key.
"""

import math
from typing import Protocol

import jax
import jax.numpy as jnp

from jax_resnet.data.augment.cutout import random_rectangle
from jax_resnet.errors import AugmentError

__all__ = ["Mix", "cutmix", "make_mix", "mixup"]


class Mix(Protocol):
    """What ``make_mix`` returns."""

    def __call__(
        self,
        keys: jax.Array,
        images: jax.Array,
        labels: jax.Array,
        partners: tuple[jax.Array, jax.Array] | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Mixes each image with its partner.

        Args:
            keys: One for each image, ``(N,)``.
            images: Normalized floats, ``(N, H, W, C)``.
            labels: Class numbers, ``(N,)``.
            partners: Images and labels of the partners, of the same shapes; None for the previous row, and
                the last for the first. Where these rows are a part of the batch, the partners must be given,
                or they would depend on how the batch is split: ``make_train_step`` does so.

        Returns:
            The mixed images, and soft labels ``(N, num_classes)``, whose rows add up to 1.
        """


def mixup(key: jax.Array, image: jax.Array, other: jax.Array, alpha: float) -> tuple[jax.Array, jax.Array]:
    """``lam * image + (1 - lam) * other`` with ``lam`` from Beta(alpha, alpha), and ``lam``, a scalar.

    Both images are normalized floats ``(H, W, C)`` (Zhang et al. 2018).
    """
    lam = jax.random.beta(key, alpha, alpha).astype(image.dtype)
    return lam * image + (1 - lam) * other, lam


def cutmix(key: jax.Array, image: jax.Array, other: jax.Array, alpha: float) -> tuple[jax.Array, jax.Array]:
    """The image with a rectangle of ``other``'s in it, and the fraction of pixels that stayed, a scalar.

    Both images are normalized floats ``(H, W, C)`` (Yun et al. 2019). The rectangle has the image's aspect
    ratio and, before the border cuts it off, the fraction ``1 - lam`` of its area, ``lam`` from
    Beta(alpha, alpha).
    """
    lam_key, place_key = jax.random.split(key)
    side = jnp.sqrt(1 - jax.random.beta(lam_key, alpha, alpha))
    height, width = ((side * length).astype(jnp.int32) for length in image.shape[:2])
    inside = random_rectangle(place_key, image.shape[:2], height, width)
    return jnp.where(inside[..., None], other, image), 1 - inside.mean(dtype=image.dtype)


def make_mix(num_classes: int, *, mixup_alpha: float = 0.0, cutmix_alpha: float = 0.0) -> Mix | None:
    """Mixes every image of a batch with another.

    Args:
        num_classes: Number of classes of the labels.
        mixup_alpha: Parameter of mixup's Beta distribution; 0 for no mixup.
        cutmix_alpha: Parameter of CutMix's Beta distribution; 0 for no CutMix. With both, each image takes
            one or the other with equal probability.

    Returns:
        See ``Mix``. None where there is nothing to do. The probabilities of a label that is no class are NaN.

    Raises:
        AugmentError: A parameter is negative or not finite.
    """
    for alpha in (mixup_alpha, cutmix_alpha):
        if not 0 <= alpha < math.inf:
            raise AugmentError(f"alpha is above 0, or 0 for none, not {alpha}")
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

    def mix(
        keys: jax.Array,
        images: jax.Array,
        labels: jax.Array,
        partners: tuple[jax.Array, jax.Array] | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        others, other_labels = partners or (jnp.roll(images, 1, axis=0), jnp.roll(labels, 1))
        images, lam = jax.vmap(one)(keys, images, others)
        own, other = (_one_hot(x, num_classes) for x in (labels, other_labels))
        return images, lam[:, None] * own + (1 - lam[:, None]) * other

    return mix


def _one_hot(labels: jax.Array, num_classes: int) -> jax.Array:
    """Probabilities ``(N, num_classes)``; NaN for a label that is no class, as the loss has it."""
    labels = labels.astype(jnp.int32)  # a narrower type cannot hold the number of classes
    known = (labels >= 0) & (labels < num_classes)
    return jnp.where(known[:, None], jax.nn.one_hot(labels, num_classes), jnp.nan)
