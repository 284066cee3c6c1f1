"""Images of any size to uint8 arrays of one size: a random crop to train on, else the center crop."""

import math
from typing import NamedTuple

import numpy as np
from PIL import Image

__all__ = ["Box", "center_crop", "random_crop_box", "random_resized_crop"]

SCALE = (0.08, 1.0)  # the crop's area, as a fraction of the image's
RATIO = (3 / 4, 4 / 3)  # the crop's width / height
TRIES = 10
THINNEST = 64  # long over short side of images that are resized whole


class Box(NamedTuple):
    """A rectangle of an image in pixels; ``right`` and ``lower`` are outside."""

    left: int
    upper: int
    right: int
    lower: int


def random_crop_box(rng: np.random.Generator, width: int, height: int) -> Box:
    """Draws a crop of 8% to 100% of the image's area and of aspect ratio 3:4 to 4:3.

    The algorithm is torchvision's ``RandomResizedCrop``: area and aspect ratio (on a logarithmic scale) are
    drawn up to ten times until the crop fits, then its place. Where none fits, the crop is the largest
    centered one with a permitted aspect ratio. After Szegedy et al. 2015, section 6.
    """
    for _ in range(TRIES):
        area = width * height * rng.uniform(*SCALE)
        ratio = math.exp(rng.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, upper = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            return Box(left, upper, left + w, upper + h)
    w, h = width, height
    if width / height < RATIO[0]:
        h = round(width / RATIO[0])
    elif width / height > RATIO[1]:
        w = round(height * RATIO[1])
    left, upper = (width - w) // 2, (height - h) // 2
    return Box(left, upper, left + w, upper + h)


def random_resized_crop(image: Image.Image, size: int, rng: np.random.Generator) -> np.ndarray:
    """A random crop, resized bilinearly with antialiasing to uint8 ``(size, size, 3)``."""
    crop = image.crop(random_crop_box(rng, *image.size))
    return np.asarray(crop.resize((size, size), Image.Resampling.BILINEAR))


def center_crop(image: Image.Image, size: int) -> np.ndarray:
    """Resizes the short side to ``size * 256 / 224`` and cuts out the center: uint8 ``(size, size, 3)``.

    An image of mode "L" gives ``(size, size)``.
    """
    width, height = image.size
    if max(width, height) > THINNEST * min(width, height):  # resized whole it could fill the memory
        image = _middle(image, THINNEST * min(width, height))
        width, height = image.size
    short = round(size * 256 / 224)
    if width <= height:
        resized = (short, int(short * height / width))
    else:
        resized = (int(short * width / height), short)
    if resized != image.size:
        image = image.resize(resized, Image.Resampling.BILINEAR)
    left, upper = round((resized[0] - size) / 2), round((resized[1] - size) / 2)
    return np.asarray(image.crop((left, upper, left + size, upper + size)))


def _middle(image: Image.Image, longest: int) -> Image.Image:
    """The middle of an image, neither side longer than ``longest`` pixels."""
    width, height = (min(side, longest) for side in image.size)
    left, upper = (image.size[0] - width) // 2, (image.size[1] - height) // 2
    return image.crop((left, upper, left + width, upper + height))
