"""Encoded pictures to uint8 arrays of one size, with Pillow: a random window to train on, else the middle."""

import io
import math
import warnings
from typing import NamedTuple

import numpy as np
from PIL import Image

from jax_resnet.errors import DataError

SCALE = (0.08, 1.0)
RATIO = (3 / 4, 4 / 3)
TRIES = 10


class Box(NamedTuple):
    """A window of a picture, in pixels; right and lower are outside."""

    left: int
    upper: int
    right: int
    lower: int


def decode(encoded: bytes, name: str) -> Image.Image:
    """Decodes a picture of any format and mode that Pillow reads to RGB, in full.

    Raises:
        DataError: naming the picture, if it cannot be read.
    """
    try:
        with warnings.catch_warnings():
            # A palette with transparency, odd EXIF: nothing that training would look at.
            warnings.simplefilter("ignore", UserWarning)
            return Image.open(io.BytesIO(encoded)).convert("RGB")
    except Exception as error:  # Pillow's decoders raise whatever they meet in a damaged file
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if isinstance(error, Image.UnidentifiedImageError):
            reason = "it is no picture" if encoded else "it is empty"
        raise DataError(f"{name} cannot be read ({reason}): replace it, or take it away") from error


def random_crop_box(rng: np.random.Generator, width: int, height: int) -> Box:
    """A window of 8% to all of the picture's area, 3:4 to 4:3 in shape (Szegedy et al. 2015, section 6).

    As torchvision has it: area and shape (on a logarithmic scale) are drawn up to ten times until the window
    fits, then its place. Where none fits, the window is the largest in the middle of a permitted shape.
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


def random_resized_crop(picture: Image.Image, size: int, rng: np.random.Generator) -> np.ndarray:
    """A random window, resized bilinearly with antialiasing to uint8 ``(size, size, 3)``."""
    window = picture.crop(random_crop_box(rng, *picture.size))
    return np.asarray(window.resize((size, size), Image.Resampling.BILINEAR))


def center_crop(picture: Image.Image, size: int) -> np.ndarray:
    """The middle: the short side resized to ``size * 256 / 224``, then cut to uint8 ``(size, size, 3)``."""
    width, height = picture.size
    short = round(size * 256 / 224)
    if width <= height:
        resized = (short, int(short * height / width))
    else:
        resized = (int(short * width / height), short)
    if resized != picture.size:
        picture = picture.resize(resized, Image.Resampling.BILINEAR)
    left, upper = round((resized[0] - size) / 2), round((resized[1] - size) / 2)
    return np.asarray(picture.crop((left, upper, left + size, upper + size)))
