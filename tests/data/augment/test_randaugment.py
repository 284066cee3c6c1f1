import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from jax_resnet.data.augment import randaugment as ra
from jax_resnet.errors import AugmentError
from tests.data.augment.images import structured

KEYS = jax.random.split(jax.random.key(0), 300)


@pytest.fixture(scope="module")
def image():
    return structured()


def one(op, image, level):
    """An operation at a level from -1 to 1."""
    apply = jax.jit(ra.apply, static_argnums=2)
    return np.asarray(apply(ra.OPS.index(op), jnp.asarray(image), abs(level) * ra.MAX_MAGNITUDE, level > 0))


@pytest.mark.parametrize("level", [-1.0, -0.4, 0.0, 0.3, 1.0])
def test_color_operations_are_pillows(image, level):
    pillow, amount = Image.fromarray(image), abs(level)
    for op, expected in {
        "brightness": ImageEnhance.Brightness(pillow).enhance(1 + 0.9 * level),
        "color": ImageEnhance.Color(pillow).enhance(1 + 0.9 * level),
        "contrast": ImageEnhance.Contrast(pillow).enhance(1 + 0.9 * level),
        "sharpness": ImageEnhance.Sharpness(pillow).enhance(1 + 0.9 * level),
        "posterize": ImageOps.posterize(pillow, 8 - round(4 * amount)),
        "solarize": ImageOps.solarize(pillow, 255 * (1 - amount)),
        "autocontrast": ImageOps.autocontrast(pillow),
        "equalize": ImageOps.equalize(pillow),
        "identity": pillow,
    }.items():
        np.testing.assert_array_equal(one(op, image, level), np.asarray(expected), err_msg=op)


@pytest.mark.parametrize("level", [-1.0, -0.37, 0.0, 0.37, 1.0])
def test_geometry_is_pillows(image, level):
    pillow = Image.fromarray(image)
    shear, shift = 0.3 * level, 100 / 224 * 32 * level
    affine = {
        "shear_x": (1, shear, -shear * 16, 0, 1, 0),
        "shear_y": (1, 0, 0, shear, 1, -shear * 16),
        "translate_x": (1, 0, shift, 0, 1, 0),
        "translate_y": (1, 0, 0, 0, 1, shift),
    }
    for op, coefficients in affine.items():
        expected = pillow.transform((32, 32), Image.Transform.AFFINE, coefficients, Image.Resampling.NEAREST)
        assert np.mean(one(op, image, level) == np.asarray(expected)) > 0.97, op
    expected = pillow.rotate(30 * level, Image.Resampling.NEAREST)
    assert np.mean(one("rotate", image, level) == np.asarray(expected)) > 0.97


def test_a_single_valued_image_survives_every_operation():
    image = np.full((8, 8, 1), 77, np.uint8)
    for op in ra.OPS:
        found = one(op, image, 0.5)
        assert found.dtype == np.uint8
        assert found.shape == image.shape
        if op in ("identity", "color", "contrast", "sharpness", "autocontrast", "equalize"):
            np.testing.assert_array_equal(found, image)


@pytest.mark.slow
def test_randaugment_draws_every_operation_and_follows_its_key(image):
    images = jnp.asarray(image)
    first = jax.jit(jax.vmap(lambda key: ra.rand_augment(key, images, 1, 15)))(KEYS)
    again = jax.vmap(lambda key: ra.rand_augment(key, images, 1, 15))(KEYS[:3])
    np.testing.assert_array_equal(first[:3], again)
    # Five operations without a direction (identity and the last four), the others two ways each.
    assert len(np.unique(np.asarray(first).reshape(300, -1), axis=0)) == 5 + 2 * 9


def test_other_images_and_magnitudes_are_refused(image):
    with pytest.raises(AugmentError, match="RandAugment is for uint8 images, not float32"):
        ra.rand_augment(KEYS[0], jnp.asarray(image, jnp.float32), 1, 15)
    with pytest.raises(AugmentError, match="magnitude is from 0 to 30, not 31"):
        ra.rand_augment(KEYS[0], jnp.asarray(image), 1, 31)
