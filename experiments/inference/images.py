"""Image files of any kind as a network's input."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from jax_resnet.data.images import ImageError, decode_image
from jax_resnet.data.padding import pad
from jax_resnet.data.streaming.listing import list_images
from jax_resnet.data.streaming.transforms import center_crop

__all__ = ["ImageError", "Shape", "find_images", "read_image"]


class Shape(NamedTuple):
    """How an image becomes an input.

    Attributes:
        input: ``(height, width, channels)`` of the network's input.
        natural: ``(height, width, channels)`` of the data set's images, padded where the input is larger.
        center_crop: Whether to take the center crop, as evaluation on photographs does (see ``center_crop``).
    """

    input: tuple[int, ...]
    natural: tuple[int, ...]
    center_crop: bool


def find_images(path: Path) -> Iterator[Path]:
    """Yields the file itself, whatever its name, or the images in a folder and below it, sorted by path.

    Raises:
        ImageError: There is no such file, or no image in the folder.
    """
    if not path.is_dir():
        if not path.exists():
            raise ImageError(str(path), "not there")
        yield path
        return
    names, _ = list_images(path)
    if not names:
        raise ImageError(str(path), "a folder without images")
    yield from sorted(path / name for name in names)


def read_image(path: Path, shape: Shape) -> np.ndarray:
    """Reads an image with the network's size and channels: uint8 ``shape.input``.

    Pixels are those that training and evaluation see: see ``decode_image``. The aspect ratio stays: the
    largest centered part of the input's aspect ratio is taken.

    Raises:
        ImageError: It cannot be read.
    """
    try:
        encoded = path.read_bytes()
    except OSError as error:
        raise ImageError(str(path), error.strerror or str(error)) from error
    image = decode_image(encoded, str(path), channels=1 if shape.input[2] == 1 else 3)
    if shape.center_crop:
        return center_crop(image, shape.input[0]).reshape(shape.input)
    height, width, channels = shape.natural
    fitted = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
    pixels = np.asarray(fitted).reshape(1, height, width, channels)
    return pad(pixels, *shape.input[:2])[0]
