"""Properties of the augmentations; RandAugment's operations against Pillow's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from jax_resnet.data import augment
from jax_resnet.data.augment import randaugment as ra
from jax_resnet.data.augment.mixing import cutmix, mixup

KEYS = jax.random.split(jax.random.key(0), 2000)


@pytest.fixture(scope="module")
def picture():
    """A uint8 image with structure: gradients, an edge, noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32]
    image = np.stack([6 * x + y, 3 * y + 40 * (x > 16), 120 + 0 * x], -1) + rng.integers(0, 30, (32, 32, 3))
    return np.clip(image, 20, 230).astype(np.uint8)


def one(op, image, level):
    return np.asarray(jax.jit(ra.apply)(ra.OPS.index(op), jnp.asarray(image), jnp.asarray(level)))


@pytest.mark.parametrize("level", [-1.0, -0.4, 0.0, 0.3, 1.0])
@pytest.mark.parametrize(
    ("op", "enhance"),
    [
        ("brightness", ImageEnhance.Brightness),
        ("color", ImageEnhance.Color),
        ("contrast", ImageEnhance.Contrast),
        ("sharpness", ImageEnhance.Sharpness),
    ],
)
def test_blends_are_pillows(picture, op, enhance, level):
    expected = np.asarray(enhance(Image.fromarray(picture)).enhance(1 + 0.9 * level), np.int32)
    assert np.abs(one(op, picture, level) - expected).max() <= 2  # Pillow rounds what it blends with


@pytest.mark.parametrize("level", [0.0, 0.3, 0.5, 1.0])
def test_color_operations_are_pillows(picture, level):
    pillow = Image.fromarray(picture)
    np.testing.assert_array_equal(
        one("posterize", picture, level), ImageOps.posterize(pillow, 8 - round(4 * level))
    )
    np.testing.assert_array_equal(
        one("solarize", picture, -level), ImageOps.solarize(pillow, 255 * (1 - level))
    )
    np.testing.assert_array_equal(one("equalize", picture, level), ImageOps.equalize(pillow))
    stretched = np.asarray(ImageOps.autocontrast(pillow), np.int32)
    assert np.abs(one("autocontrast", picture, level) - stretched).max() <= 1


@pytest.mark.parametrize("level", [-1.0, -0.37, 0.0, 0.37, 1.0])
def test_geometry_is_pillows(picture, level):
    pillow = Image.fromarray(picture)
    shear, shift = 0.3 * level, 100 / 224 * 32 * level
    affine = {
        "shear_x": (1, shear, -shear * 16, 0, 1, 0),
        "shear_y": (1, 0, 0, shear, 1, -shear * 16),
        "translate_x": (1, 0, shift, 0, 1, 0),
        "translate_y": (1, 0, 0, 0, 1, shift),
    }
    for op, coefficients in affine.items():
        expected = pillow.transform((32, 32), Image.Transform.AFFINE, coefficients, Image.Resampling.NEAREST)
        assert np.mean(one(op, picture, level) == np.asarray(expected)) > 0.97, op
    expected = pillow.rotate(30 * level, Image.Resampling.NEAREST)
    assert np.mean(one("rotate", picture, level) == np.asarray(expected)) > 0.97


def test_a_single_valued_image_survives_every_operation():
    image = np.full((8, 8, 1), 77, np.uint8)
    for op in ra.OPS:
        found = one(op, image, 0.5)
        assert found.dtype == np.uint8
        assert found.shape == image.shape
        if op in ("identity", "color", "contrast", "sharpness", "autocontrast", "equalize"):
            np.testing.assert_array_equal(found, image)


def test_randaugment_draws_every_operation_and_follows_its_key(picture):
    images = jnp.asarray(picture)
    first = jax.jit(jax.vmap(lambda key: ra.rand_augment(key, images, 1, 15)))(KEYS[:300])
    again = jax.vmap(lambda key: ra.rand_augment(key, images, 1, 15))(KEYS[:3])
    np.testing.assert_array_equal(first[:3], again)
    # Seven operations without a direction (translations fall out of the picture), the others two ways each.
    assert len(np.unique(np.asarray(first).reshape(300, -1), axis=0)) == 5 + 2 * 9


def test_cutout_takes_a_square_of_the_mean_color(picture):
    image = augment.normalize(jnp.asarray(picture), (0.3, 0.4, 0.5), (0.2, 0.2, 0.2)) + 10  # nowhere 0
    found = np.asarray(jax.vmap(lambda key: augment.cutout(key, image, 16))(KEYS))
    gone = (found == 0).all(-1)
    np.testing.assert_array_equal(found[~gone], np.broadcast_to(image, found.shape)[~gone])
    assert ((found == 0).any(-1) == gone).all()
    rows, columns = gone.any(2).sum(1), gone.any(1).sum(1)
    np.testing.assert_array_equal(gone.sum((1, 2)), rows * columns)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (8, 16, 8, 16)
    # The top edge is at c - 8, the center c anything from 0 to 31.
    lengths = [min(32, c + 8) - max(0, c - 8) for c in range(32)]
    assert rows.mean() == pytest.approx(np.mean(lengths), abs=4 * np.std(lengths) / len(KEYS) ** 0.5)


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_mixup_is_its_formula_with_a_beta_distributed_share(alpha):
    image, other = jnp.full((4, 4, 3), 2.0), jnp.full((4, 4, 3), -1.0)
    mixed, share = jax.vmap(lambda key: mixup(key, image, other, alpha))(KEYS)
    np.testing.assert_allclose(
        mixed, np.broadcast_to((3 * share - 1)[:, None, None, None], mixed.shape), atol=1e-5
    )
    assert ((share >= 0) & (share <= 1)).all()
    # Beta(a, a): mean 1/2, variance 1 / (4 (2a + 1)); four standard errors.
    std = (1 / (4 * (2 * alpha + 1))) ** 0.5
    assert float(share.mean()) == pytest.approx(0.5, abs=4 * std / len(KEYS) ** 0.5)
    assert float(share.std()) == pytest.approx(std, rel=0.1)


def test_cutmix_shows_as_much_of_each_image_as_the_share_says():
    image, other = jnp.zeros((16, 16, 1)), jnp.ones((16, 16, 1))
    mixed, share = jax.vmap(lambda key: cutmix(key, image, other, 1.0))(KEYS)
    mixed = np.asarray(mixed)[..., 0]
    assert set(np.unique(mixed)) == {0.0, 1.0}
    np.testing.assert_allclose(mixed.mean((1, 2)), 1 - share, atol=1e-6)
    np.testing.assert_array_equal(mixed.sum((1, 2)), mixed.any(2).sum(1) * mixed.any(1).sum(1))
    assert 0.5 < float(share.mean()) < 0.75  # the border cuts rectangles off


@pytest.mark.parametrize("alphas", [(0.4, 0.0), (0.0, 1.0), (0.4, 1.0)])
def test_mixed_labels_add_up_and_say_what_is_in_the_image(alphas):
    mix = jax.jit(augment.make_mix(5, mixup_alpha=alphas[0], cutmix_alpha=alphas[1]))
    labels = jnp.asarray([0, 1, 2, 3, 3])
    # Each image is as bright as its label, so that mean brightness is the mean label.
    images = jnp.broadcast_to(labels.astype(jnp.float32)[:, None, None, None], (5, 8, 8, 1))
    mixed, shares = mix(KEYS[:5], images, labels)
    np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-5)
    assert (np.asarray(shares) >= 0).all()
    np.testing.assert_allclose(mixed.mean((1, 2, 3)), shares @ jnp.arange(5.0), atol=1e-4)
    assert (np.count_nonzero(shares, axis=1) <= 2).all()
    np.testing.assert_array_equal(mix(KEYS[:5], images, labels)[1], shares)
    assert augment.make_mix(5) is None


def test_everything_together_is_a_function_of_the_key(picture):
    images = jnp.asarray(np.stack([picture, picture[::-1], picture[:, ::-1]]))
    together = jax.jit(
        augment.make_augment(
            (0.5,) * 3, (0.25,) * 3, randaugment_ops=2, randaugment_magnitude=9, cutout_size=8
        )
    )
    found = together(KEYS[:3], images)
    assert found.shape == images.shape
    assert found.dtype == jnp.float32
    assert -2 <= float(found.min()) <= float(found.max()) <= 2
    order = jnp.asarray([2, 0, 1])
    np.testing.assert_array_equal(together(KEYS[:3][order], images[order]), found[order])
    assert not np.array_equal(together(KEYS[3:6], images), found)


def test_crops_are_windows_of_the_image_on_black(picture):
    crops = np.asarray(jax.vmap(lambda key: augment.random_crop(key, jnp.asarray(picture), 4))(KEYS[:300]))
    padded = np.pad(picture, ((4, 4), (4, 4), (0, 0)))
    windows = {padded[y : y + 32, x : x + 32].tobytes() for y in range(9) for x in range(9)}
    seen = {crop.tobytes() for crop in crops}
    assert seen <= windows
    assert len(seen) > 60
