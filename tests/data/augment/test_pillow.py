"""Color operations equal Pillow's on every pixel of images of all kinds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from jax_resnet.data.augment import pillow
from tests.data.augment.images import photograph_like, structured

rng = np.random.default_rng(2)
EVERY_VALUE = np.arange(256, dtype=np.uint8).reshape(16, 16)
IMAGES = {
    "structured": structured(),
    "photograph": photograph_like(),
    "noise": rng.integers(0, 256, (37, 29, 3), np.uint8),
    "dark": rng.integers(0, 9, (32, 32, 3), np.uint8),
    "two values": rng.choice(np.array([0, 255], np.uint8), (16, 16, 3)),
    "every value": np.stack([EVERY_VALUE, EVERY_VALUE.T, EVERY_VALUE[::-1]], -1),
    "one value": np.full((8, 8, 3), 77, np.uint8),
    "one pixel": np.array([[[3, 200, 90]]], np.uint8),
    "two rows": rng.integers(0, 256, (2, 9, 3), np.uint8),
    "3x3": rng.integers(0, 256, (3, 3, 3), np.uint8),
    "gray": rng.integers(0, 256, (20, 30, 1), np.uint8),
}
FACTORS = sorted({1 + sign * 0.9 * magnitude / 30 for magnitude in range(31) for sign in (-1, 1)})


@pytest.fixture(params=IMAGES)
def image(request):
    return IMAGES[request.param]


def as_pillow(image):
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def assert_equals_pillow(found, expected, image):
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected).reshape(image.shape))


@pytest.mark.parametrize(
    ("name", "enhance"),
    [
        ("brightness", ImageEnhance.Brightness),
        ("color", ImageEnhance.Color),
        ("contrast", ImageEnhance.Contrast),
        ("sharpness", ImageEnhance.Sharpness),
    ],
)
@pytest.mark.slow
def test_enhancements_equal_pillows_at_every_magnitude(image, name, enhance):
    enhancer = enhance(as_pillow(image))
    dull = jax.jit(pillow.dull, static_argnums=1)(image, name)
    assert_equals_pillow(dull, enhancer.degenerate, image)
    blended = jax.jit(
        lambda dull, image: jnp.stack(
            [pillow.blend(dull, image, abs(f - 1), jnp.asarray(f > 1)) for f in FACTORS[::4]]
        )
    )(dull, image)
    for factor, found in zip(FACTORS[::4], blended, strict=True):
        assert_equals_pillow(found, enhancer.enhance(factor), image)


@pytest.mark.parametrize("factor", FACTORS[::6])
def test_every_pair_of_values_blends_as_pillows(factor):
    below, above = np.mgrid[:256, :256].astype(np.uint8)
    expected = Image.blend(Image.fromarray(below), Image.fromarray(above), factor)
    found = jax.jit(pillow.blend, static_argnums=2)(
        below.astype(np.int32)[..., None], above[..., None], abs(factor - 1), factor > 1
    )
    np.testing.assert_array_equal(found[..., 0], expected)


def test_smoothing_and_gray_equal_pillows(image):
    assert_equals_pillow(jax.jit(pillow.smooth)(image), as_pillow(image).filter(ImageFilter.SMOOTH), image)
    gray = jax.jit(pillow.luma)(image)
    np.testing.assert_array_equal(gray[..., 0], as_pillow(image).convert("L"))


def test_autocontrast_and_equalize_equal_pillows(image):
    assert_equals_pillow(jax.jit(pillow.autocontrast)(image), ImageOps.autocontrast(as_pillow(image)), image)
    found = jax.jit(jax.vmap(pillow.equalize, -1, -1))(image)
    assert_equals_pillow(found, ImageOps.equalize(as_pillow(image)), image)


def test_autocontrast_equals_pillows_for_every_range_of_values():
    """Rows are images: all values between two, for all pairs of a lowest and a highest value."""
    ranges = [(low, high) for low in range(256) for high in range(low, 256)]
    values = np.arange(256)
    images = np.stack([np.clip(values, low, high) for low, high in ranges]).astype(np.uint8)[:, None, :, None]
    found = np.asarray(jax.jit(jax.vmap(pillow.autocontrast))(images))[:, 0, :, 0]
    wrong = [
        bounds
        for bounds, image, row in zip(ranges, images[:, 0, :, 0], found, strict=True)
        if Image.fromarray(row[None]).tobytes()
        != ImageOps.autocontrast(Image.fromarray(image[None])).tobytes()
    ]
    assert wrong == []


@pytest.mark.parametrize("amount", [0.0, 0.1, 0.25, 0.3, 0.5, 0.95, 1.0])
def test_posterize_and_solarize_equal_pillows(image, amount):
    dropped, threshold = round(4 * amount), 255 * (1 - amount)
    assert_equals_pillow(
        pillow.posterize(image, dropped), ImageOps.posterize(as_pillow(image), 8 - dropped), image
    )
    assert_equals_pillow(
        pillow.solarize(image, threshold), ImageOps.solarize(as_pillow(image), threshold), image
    )
