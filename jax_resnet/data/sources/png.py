"""Decodes the images inside data files, whose size is known before."""

import io

import numpy as np

from jax_resnet._text import first_line
from jax_resnet.errors import DataError

__all__ = ["decode_png"]

_MODES = {1: "L", 3: "RGB"}


def decode_png(encoded: bytes, size: tuple[int, int], channels: int, origin: str) -> np.ndarray:
    """Decodes a PNG of exactly the expected size; a header that promises another is never believed.

    Args:
        encoded: The file's content.
        size: (width, height) in pixels.
        channels: 1 (gray) or 3 (RGB).
        origin: Where it comes from, for the message.

    Returns:
        uint8 array of shape (height, width, channels).

    Raises:
        DataError: The image is damaged, or of another format, size or mode.
    """
    from PIL import Image

    try:
        image = Image.open(io.BytesIO(encoded), formats=("PNG",))
        found = (*image.size, image.mode)
        pixels = np.asarray(image) if found == (*size, _MODES[channels]) else None
    except Exception as error:  # Pillow's decoders raise many errors for damaged files
        raise DataError(f"{origin} is not a readable PNG ({first_line(error)})") from error
    if pixels is None:
        width, height, mode = found
        expected = f"{_MODES[channels]} of {size[0]}x{size[1]}"
        raise DataError(f"{origin} is a {mode} image of {width}x{height} pixels, not {expected}")
    return pixels.reshape(size[1], size[0], channels)
