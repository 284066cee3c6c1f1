"""One function out of all that is done to an image by itself."""

from collections.abc import Callable, Sequence

import jax

from jax_resnet.data.augment.basic import normalize, random_crop, random_flip
from jax_resnet.data.augment.cutout import cutout
from jax_resnet.data.augment.randaugment import rand_augment


def make_augment(
    mean: Sequence[float],
    std: Sequence[float],
    *,
    crop_padding: int = 4,
    flip: bool = True,
    randaugment_ops: int = 0,
    randaugment_magnitude: float = 9.0,
    cutout_size: int = 0,
) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """Random crop and flip (He et al. 2015, section 4.2), RandAugment, normalization, cutout, in that order.

    Pixels outside the image are black, as torchvision's padding before normalization has them; those that
    cutout takes are the mean color.

    Args:
        mean: Per channel, in [0, 1] units.
        std: Likewise.
        crop_padding: Of ``random_crop``; 0 for none.
        flip: Whether to flip.
        randaugment_ops: Operations of ``rand_augment`` on each image; 0 for none.
        randaugment_magnitude: Of each, 0 to 30.
        cutout_size: Side of the square that ``cutout`` takes, in pixels; 0 for none.

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
        if randaugment_ops:
            key = jax.random.fold_in(crop_key, 1)
            image = rand_augment(key, image, randaugment_ops, randaugment_magnitude)
        image = normalize(image, mean, std)
        if cutout_size:
            image = cutout(jax.random.fold_in(flip_key, 1), image, cutout_size)
        return image

    return jax.vmap(one)
