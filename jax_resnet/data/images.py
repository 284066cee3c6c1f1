"""The one image decoder: training, evaluation and prediction see the same pixels of a file."""

import contextlib
import functools
import io
import threading
import warnings
from collections.abc import Iterator
from typing import Literal

import numpy as np
from PIL import Image

from jax_resnet._text import first_line
from jax_resnet.errors import DataError

__all__ = ["ImageError", "decode_image", "image_endings", "to_rgb"]

# Pillow knows these files but has no decoder for them, or runs another program (Ghostscript) to draw them.
NOT_DECODED = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})
EXIF_ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class ImageError(DataError):
    """An image that cannot be read.

    Attributes:
        name: The file's path, or where else the image is.
        reason: Why it cannot be read, one line.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} cannot be read ({reason}): replace it, or take it away", reason=reason)
        self.name = name

    def __reduce__(self) -> tuple[type, tuple[str, str]]:  # the error is sent between processes
        return type(self), (self.name, self.reason)


def decode_image(encoded: bytes, name: str, *, channels: Literal[1, 3] = 3) -> Image.Image:
    """Decodes the first frame of an image of any format and mode that Pillow reads, upright and opaque.

    ====================  ==================================================================================
    Pillow's mode         becomes
    ====================  ==================================================================================
    1, L                  gray; 1 bit is 0 or 255
    RGB, RGBX             as it is
    P                     the palette's colors
    LA, La, PA, RGBA,     composited on white; so are palettes with transparency, and modes 1, L, RGB, I;16
    RGBa                  with one transparent color
    I;16 (L, B, N)        ``round(value / 257)``: 16 bits scaled to 8
    I (32-bit integers),  scaled by the number of bits that hold the image's largest value: up to 255 as it
    F (floats)            is, up to 65535 as 16 bits. PGM's integers are 16 bits whatever their values.
                          Floats up to 1 are fractions of 255. Negative, larger or NaN: an error.
    CMYK, YCbCr, HSV,     converted to RGB by Pillow (CMYK JPEGs of Adobe, which are stored inverted, too)
    LAB
    ====================  ==================================================================================

    EXIF's orientation is applied. Color profiles are not, as in torchvision.

    Args:
        encoded: The file's contents. They decide the format, not the file's ending.
        name: What the error calls the image.
        channels: 3 for RGB, 1 for gray (ITU-R 601 luma).

    Returns:
        An image of mode "RGB" or "L", decoded in full.

    Raises:
        ImageError: The file is empty, damaged, cut short, not an image, has more pixels than twice
            ``PIL.Image.MAX_IMAGE_PIXELS`` (a decompression bomb), or has values of unknown range.
    """
    try:
        with _without_pillows_warnings(), Image.open(io.BytesIO(encoded), formats=_formats()) as image:
            if 0 in image.size:
                raise ValueError("it has no pixels")
            image.load()
            return to_rgb(image, channels)
    except Exception as error:  # Pillow's decoders raise anything they meet in a damaged file
        reason = first_line(error)
        if isinstance(error, Image.UnidentifiedImageError):
            reason = "it is not an image" if encoded else "it is empty"
        raise ImageError(name, reason) from error


def to_rgb(image: Image.Image, channels: Literal[1, 3] = 3) -> Image.Image:
    """Converts an opened image of any mode as ``decode_image`` does.

    Raises:
        ValueError: Its values are of unknown range.
    """
    image = _opaque(_upright(image)).convert("RGB")
    return image if channels == 3 else image.convert("L")


@functools.cache
def image_endings() -> frozenset[str]:
    """The endings of the files that ``decode_image`` reads, in lower case: ``".jpg"``, ``".webp"``, ..."""
    known = Image.registered_extensions()
    readable = {*_formats(), "MPO"}  # several JPEGs in one file, opened as JPEG
    return frozenset(ending.lower() for ending, form in known.items() if form in readable)


@functools.cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(form for form in Image.ID if form not in NOT_DECODED)  # the common ones come first


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(EXIF_ORIENTATION)
    except Exception:  # damaged EXIF says nothing about the pixels
        return image
    return image.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else image


def _opaque(image: Image.Image) -> Image.Image:
    """The image with at most 8 bits per channel, composited on white."""
    if image.mode == "F" or image.mode.startswith("I"):
        return _eight_bits(image)
    if not image.has_transparency_data:
        return image
    color = image.info.get("transparency")
    if isinstance(color, tuple) and max(color) > 255:  # given in 16 bits, of which Pillow decodes the upper 8
        image.info["transparency"] = tuple(value >> 8 for value in color)
    straight = {"La": "LA", "RGBa": "RGBA"}
    layer = image.convert(straight.get(image.mode)).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)


def _eight_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    scaled = np.round(values.astype(np.float64) * (255 / _top(image, values)))
    if (color := image.info.get("transparency")) is not None:
        scaled = np.where(values == color, 255, scaled)
    return Image.fromarray(np.clip(scaled, 0, 255).astype(np.uint8))


def _top(image: Image.Image, values: np.ndarray) -> int:
    """The value that stands for white."""
    if image.mode.startswith("I;16"):
        return 65535
    low, high = float(values.min()), float(values.max())
    if image.mode == "I" and image.format == "PPM" and 0 <= low <= high <= 65535:
        return 65535
    tops = (1, 255, 65535) if image.mode == "F" else (255, 65535)
    top = next((top for top in tops if 255 * high / top < 255.5), None)  # none for NaN
    if top is not None and 255 * low / top > -0.5:
        return top
    raise ValueError(
        f"its values are from {low:g} to {high:g}: 0 to 255 or to 65535 is needed, or floats from 0 to 1"
    )


_quiet_lock = threading.Lock()
_quiet_count = 0
_quiet_stack = contextlib.ExitStack()


@contextlib.contextmanager
def _without_pillows_warnings() -> Iterator[None]:
    """Ignores warnings of Pillow's modules (odd EXIF, large images) while any thread decodes.

    ``warnings.catch_warnings`` alone is not for threads: the last to leave would restore another's filters.
    """
    global _quiet_count
    with _quiet_lock:
        if not _quiet_count:
            _quiet_stack.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", module=r"PIL\.")
        _quiet_count += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_count -= 1
            if not _quiet_count:
                _quiet_stack.close()
