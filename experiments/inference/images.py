"""Picture files of any kind, as a network takes them."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from jax_resnet.data.padding import pad
from jax_resnet.data.streaming.transforms import center_crop

ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


class ImageError(Exception):
    """A picture that cannot be read; the message says why, the caller knows which."""


class Shape(NamedTuple):
    """How a picture becomes an input.

    Attributes:
        input: ``(height, width, channels)`` of the network's input.
        natural: Of the data set's images, which are padded where the input is larger.
        middle: Whether a margin is cut off, as it is from natural pictures (see ``center_crop``).
    """

    input: tuple[int, ...]
    natural: tuple[int, ...]
    middle: bool


def find_images(path: Path) -> Iterator[Path]:
    """The file itself, whatever its name, or the pictures in a folder and those below it, in their order.

    Raises:
        ImageError: There is no such file, or no picture in the folder.
    """
    if not path.is_dir():
        if not path.exists():
            raise ImageError("not there")
        yield path
        return
    found = False
    for file in sorted(path.rglob("*")):
        if file.suffix.lower() in ENDINGS and not file.name.startswith(".") and file.is_file():
            found = True
            yield file
    if not found:
        raise ImageError(f"a folder without pictures ({', '.join(ENDINGS)})")


def read_image(path: Path, shape: Shape) -> np.ndarray:
    """A picture, upright, with the network's size and channels: uint8 ``shape.input``.

    It keeps its proportions: the middle is taken, as large as it will go. What is transparent is white.

    Raises:
        ImageError: It cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # odd EXIF, and palettes with transparency
            with Image.open(path) as image:
                upright = ImageOps.exif_transpose(image)
                picture = to_eight_bits(upright).convert("L" if shape.input[2] == 1 else "RGB")
    except Exception as error:  # Pillow's decoders raise whatever they meet in a damaged file
        if isinstance(error, Image.UnidentifiedImageError):
            reason = "no picture that can be read" if path.stat().st_size else "an empty file"
        else:
            reason = (
                getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0]
            )
        raise ImageError(reason) from error
    if shape.middle:
        return center_crop(picture, shape.input[0])
    height, width, channels = shape.natural
    fitted = ImageOps.fit(picture, (width, height), Image.Resampling.BICUBIC)
    pixels = np.asarray(fitted).reshape(1, height, width, channels)
    return pad(pixels, *shape.input[:2])[0]


def to_eight_bits(image: Image.Image) -> Image.Image:
    """The picture with at most eight bits a channel and nothing transparent: 16 bits are scaled, not cut."""
    if image.mode.startswith("I") or image.mode == "F":
        pixels = np.asarray(image, np.float64)
        top = 65535 if image.mode != "F" else 255 if pixels.max() > 1 else 1
        return Image.fromarray(np.round(np.clip(pixels / top, 0, 1) * 255).astype(np.uint8))
    if image.has_transparency_data:
        seen = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")
    return image
