"""One function out of everything that is done to an image by itself."""

from typing import Literal, Protocol, get_args

import jax
import jax.numpy as jnp
import numpy as np

from jax_resnet.data.augment.basic import (
    Statistic,
    alternating_flips,
    check_scale,
    normalize,
    random_crop,
    random_flip,
)
from jax_resnet.data.augment.cutout import cutout
from jax_resnet.data.augment.randaugment import rand_augment
from jax_resnet.errors import AugmentError

__all__ = ["Augment", "Flip", "Padding", "make_augment"]

Flip = bool | Literal["alternating"]
Padding = Literal["black", "mean", "reflect"]
PADDINGS = get_args(Padding)
LARGEST = 2**15  # pixels, or operations: far above every image


class Augment(Protocol):
    """What ``make_augment`` returns."""

    def __call__(
        self,
        keys: jax.Array,
        images: jax.Array,
        *,
        index: jax.Array | None = None,
        epoch: jax.Array | None = None,
    ) -> jax.Array:
        """Augments images.

        Args:
            keys: One for each image, ``(N,)``.
            images: uint8, or floats from 0 to 1, ``(N, H, W, C)``.
            index: Which example each image is, int32 ``(N,)``; for alternating flips alone.
            epoch: int32, ``()`` or ``(N,)``; for alternating flips alone.

        Returns:
            Normalized images, float32 ``(N, H, W, C)``, or of another size.
        """


def make_augment(
    mean: Statistic,
    std: Statistic,
    *,
    crop_padding: int = 4,
    padding: Padding = "black",
    flip: Flip = True,
    flip_seed: int = 0,
    randaugment_ops: int = 0,
    randaugment_magnitude: float = 9.0,
    cutout_size: int = 0,
    size: int = 0,
) -> Augment:
    """Random crop and flip (He et al. 2015, section 4.2), RandAugment, normalization, cutout, in that order.

    Last of all, images are resized where ``size`` is given: small images at the beginning of a training make
    it shorter (Tan and Le 2021, section 4).

    Args:
        mean: Per channel, or of every pixel, ``(H, W, C)``, in [0, 1] units: see ``normalize``.
        std: Per channel, in the same units.
        crop_padding: Pixels that ``random_crop`` pads with; 0 for no crop.
        padding: What is outside the image. "black" pads before normalization, as torchvision does. "mean"
            pads with zeros after it, which is the mean color, as He et al. do; RandAugment then comes before
            the crop. "reflect" mirrors the image at its border.
        flip: Whether to flip images left to right at random, with probability one half. "alternating" flips
            each one in every other epoch, see ``alternating_flips``.
        flip_seed: The seed of alternating flips.
        randaugment_ops: Number of operations of ``rand_augment`` on each image; 0 for none.
        randaugment_magnitude: Magnitude of each operation, 0 to 30.
        cutout_size: Side of the square that ``cutout`` sets to the mean color, in pixels; 0 for none.
        size: Height and width of the result, bilinear with antialiasing; 0 for those of the images.

    Returns:
        A function from keys ``(N,)`` and uint8 images, or floats from 0 to 1, ``(N, H, W, C)``, to normalized
        float32 images. Each image's outcome depends on its own key alone (and on index and epoch where flips
        alternate, which ``make_train_step(..., steps_per_epoch=)`` passes).

    Raises:
        AugmentError: Options out of range or that do not go together, and, when called, images of a wrong
            dtype or range.
    """
    for name, value in (
        ("crop_padding", crop_padding),
        ("randaugment_ops", randaugment_ops),
        ("cutout_size", cutout_size),
        ("size", size),
    ):
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if not whole or not 0 <= value <= LARGEST:
            raise AugmentError(f"{name} is a whole number from 0 to {LARGEST:,}, not {value!r}")
    if padding not in PADDINGS:
        raise AugmentError(f"padding is {', '.join(PADDINGS[:-1])} or {PADDINGS[-1]}, not {padding!r}")
    if flip not in (True, False, "alternating"):
        raise AugmentError(f'flip is True, False or "alternating", not {flip!r}')
    per_pixel = np.ndim(mean) > 1
    if per_pixel and crop_padding and padding == "black":
        raise AugmentError(
            'the mean of every pixel is subtracted before the crop: padding is "mean" or "reflect", '
            'not "black"'
        )
    # Zeros after normalization can only be padded there, and every pixel's own mean only be subtracted
    # while the pixel is in its place.
    crop_last = per_pixel or padding == "mean"
    mode: Literal["constant", "reflect"] = "reflect" if padding == "reflect" else "constant"

    def crop_and_flip(key: jax.Array, image: jax.Array, flipped: jax.Array | None) -> jax.Array:
        crop_key, flip_key = jax.random.split(key)
        if crop_padding:
            image = random_crop(crop_key, image, crop_padding, mode)
        if flipped is not None:
            return jnp.where(flipped, image[:, ::-1], image)
        return random_flip(flip_key, image) if flip else image

    def change_colors(key: jax.Array, image: jax.Array) -> jax.Array:
        if not randaugment_ops:
            return image
        key = jax.random.fold_in(jax.random.split(key)[0], 1)
        return rand_augment(key, image, randaugment_ops, randaugment_magnitude)

    def one(key: jax.Array, image: jax.Array, flipped: jax.Array | None) -> jax.Array:
        if crop_last:
            image = crop_and_flip(key, normalize(change_colors(key, image), mean, std), flipped)
        else:
            image = normalize(change_colors(key, crop_and_flip(key, image, flipped)), mean, std)
        if cutout_size:
            image = cutout(jax.random.fold_in(jax.random.split(key)[1], 1), image, cutout_size)
        return jax.image.resize(image, (size, size, image.shape[-1]), "bilinear") if size else image

    def augment(
        keys: jax.Array,
        images: jax.Array,
        *,
        index: jax.Array | None = None,
        epoch: jax.Array | None = None,
    ) -> jax.Array:
        check_scale(images)
        flipped = None
        if flip == "alternating":
            if index is None or epoch is None:
                raise AugmentError(
                    "alternating flips need each image's index and the epoch: "
                    "pass steps_per_epoch to make_train_step"
                )
            flipped = alternating_flips(index, epoch, flip_seed)
        return jax.vmap(one)(keys, images, flipped)

    return augment
