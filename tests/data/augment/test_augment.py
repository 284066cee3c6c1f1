"""Properties of the augmentations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_resnet.data import augment
from jax_resnet.errors import AugmentError
from tests.data.augment.images import structured

KEYS = jax.random.split(jax.random.key(0), 2000)


@pytest.fixture(scope="module")
def image():
    return structured()


def test_cutout_removes_a_square_of_the_mean_color(image):
    image = augment.normalize(jnp.asarray(image), (0.3, 0.4, 0.5), (0.2, 0.2, 0.2)) + 10  # nowhere 0
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


def test_everything_together_is_a_function_of_the_key(image):
    images = jnp.asarray(np.stack([image, image[::-1], image[:, ::-1]]))
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


def test_crops_are_windows_of_the_image_on_black(image):
    crops = np.asarray(jax.vmap(lambda key: augment.random_crop(key, jnp.asarray(image), 4))(KEYS[:300]))
    padded = np.pad(image, ((4, 4), (4, 4), (0, 0)))
    windows = {padded[y : y + 32, x : x + 32].tobytes() for y in range(9) for x in range(9)}
    seen = {crop.tobytes() for crop in crops}
    assert seen <= windows
    assert len(seen) > 60


def test_reflected_crops_are_windows_of_the_mirrored_image(image):
    crop = jax.vmap(lambda key: augment.random_crop(key, jnp.asarray(image), 4, "reflect"))
    crops = np.asarray(crop(KEYS[:300]))
    padded = np.pad(image, ((4, 4), (4, 4), (0, 0)), "reflect")
    windows = {padded[y : y + 32, x : x + 32].tobytes() for y in range(9) for x in range(9)}
    seen = {one.tobytes() for one in crops}
    assert seen <= windows
    assert len(seen) > 60


MEAN, STD = (0.3, 0.4, 0.5), (0.2, 0.25, 0.3)


def places(found, padded):
    """The window of ``padded`` (or of its mirror image) that each image is."""
    size = found.shape[1]
    windows = {
        np.ascontiguousarray(view[y : y + size, x : x + size]).tobytes(): (y, x, flipped)
        for y in range(padded.shape[0] - size + 1)
        for x in range(padded.shape[1] - size + 1)
        for flipped, view in ((False, padded), (True, padded[:, ::-1]))
    }
    return [windows[one.tobytes()] for one in np.asarray(found)]


@pytest.mark.parametrize("name", ["crop_padding", "randaugment_ops", "cutout_size", "size"])
@pytest.mark.parametrize("value", [-3, 1.5, True, 3_000_000_000])
def test_sizes_are_whole_numbers_of_pixels(name, value):
    with pytest.raises(AugmentError, match=f"{name} is a whole number from 0 to 32,768, not {value!r}"):
        augment.make_augment(MEAN, STD, **{name: value})


@pytest.mark.parametrize("padding", ["black", "mean", "reflect"])
def test_what_is_outside_the_image(image, padding):
    images = jnp.broadcast_to(jnp.asarray(image), (100, *image.shape))
    found = augment.make_augment(MEAN, STD, crop_padding=3, padding=padding)(KEYS[:100], images)
    normal = np.asarray(augment.normalize(jnp.asarray(image), MEAN, STD))
    mode = "reflect" if padding == "reflect" else "constant"
    padded = np.stack([np.pad(normal[..., c], 3, mode) for c in range(3)], -1)
    if padding == "black":
        black = np.asarray(augment.normalize(jnp.zeros((1, 1, 3), jnp.uint8), MEAN, STD))
        padded = np.where(np.pad(np.ones((32, 32, 1)), ((3, 3), (3, 3), (0, 0))) == 1, padded, black)
    assert len(set(places(found, padded))) > 50


def test_padding_with_the_mean_is_exactly_zero(image):
    images = jnp.full((200, 8, 8, 3), 200, jnp.uint8)
    found = np.asarray(augment.make_augment(MEAN, STD, padding="mean")(KEYS[:200], images))
    inside = np.asarray(augment.normalize(images[0, 0, 0], MEAN, STD))
    assert ((found == 0).all(-1) | (np.abs(found - inside) < 1e-5).all(-1)).all()
    assert 0.3 < (found == 0).mean() < 0.6


def test_the_mean_of_every_pixel_is_subtracted_where_the_pixel_is():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (50, 12, 12, 3), np.uint8)
    mean = augment.mean_image(images)
    assert mean.dtype == np.float32
    np.testing.assert_allclose(mean, images.astype(np.float64).mean(0) / 255, rtol=1e-6)
    normal = np.asarray(augment.normalize(images, mean, (1.0,)))
    np.testing.assert_allclose(normal.mean(0), 0, atol=1e-6)
    found = augment.make_augment(mean, (1.0,) * 3, crop_padding=2, padding="mean")(KEYS[:50], images)
    for one, whole in zip(found, normal, strict=True):
        places(np.asarray(one)[None], np.pad(whole, ((2, 2), (2, 2), (0, 0))))
    with pytest.raises(AugmentError, match='padding is "mean" or "reflect", not "black"'):
        augment.make_augment(mean, (1.0,) * 3)
    with pytest.raises(AugmentError, match="the mean is taken of uint8 images, not float32"):
        augment.mean_image(normal)


def test_a_mean_of_every_pixel_that_is_a_color_does_as_the_color(image):
    images = jnp.asarray(image)[None].repeat(20, 0)
    of_pixels = np.broadcast_to(np.float32(MEAN), image.shape)
    found = [
        jax.jit(augment.make_augment(mean, STD, padding="mean", randaugment_ops=1, cutout_size=5))(
            KEYS[:20], images
        )
        for mean in (MEAN, of_pixels)
    ]
    np.testing.assert_array_equal(*found)


def test_alternating_flips_show_every_image_in_both_ways():
    index = jnp.arange(1000)
    epochs = np.stack([np.asarray(augment.alternating_flips(index, jnp.int32(e))) for e in range(4)])
    np.testing.assert_array_equal(epochs[0], ~epochs[1])
    np.testing.assert_array_equal(epochs[0], epochs[2])
    np.testing.assert_array_equal(epochs[1], epochs[3])
    assert 0.44 < epochs[0].mean() < 0.56
    other = np.asarray(augment.alternating_flips(index, jnp.int32(0), seed=1))
    assert 0.4 < (other == epochs[0]).mean() < 0.6
    order = np.random.default_rng(0).permutation(1000)[:10]
    some = augment.alternating_flips(index[order], jnp.full(10, 3))
    np.testing.assert_array_equal(some, epochs[3][order])


def test_augmentation_flips_in_every_other_epoch(image):
    images = jnp.asarray(image)[None].repeat(8, 0)
    flip = jax.jit(augment.make_augment(MEAN, STD, crop_padding=0, flip="alternating"))
    index = jnp.arange(8)
    found = [np.asarray(flip(KEYS[e : e + 8], images, index=index, epoch=jnp.int32(e))) for e in range(3)]
    np.testing.assert_array_equal(found[0], found[1][:, :, ::-1])
    np.testing.assert_array_equal(found[0], found[2])
    straight = np.asarray(augment.normalize(images[0], MEAN, STD))
    for one, flipped in zip(found[0], augment.alternating_flips(index, jnp.int32(0)), strict=True):
        np.testing.assert_allclose(one, straight[:, ::-1] if flipped else straight, atol=1e-6)
    with pytest.raises(AugmentError, match="alternating flips need each image's index and the epoch"):
        flip(KEYS[:8], images)


def test_options_that_do_not_exist_are_named():
    with pytest.raises(AugmentError, match="padding is black, mean or reflect, not 'edge'"):
        augment.make_augment(MEAN, STD, padding="edge")
    with pytest.raises(AugmentError, match="flip is True, False or \"alternating\", not 'sometimes'"):
        augment.make_augment(MEAN, STD, flip="sometimes")


def test_floats_from_zero_to_one_are_what_uint8_scaled_is(image):
    scaled = jnp.asarray(image, jnp.float32) / 255
    expected = augment.normalize(jnp.asarray(image), MEAN, STD)
    np.testing.assert_allclose(augment.normalize(scaled, MEAN, STD), expected, atol=1e-6)
    for dtype in (jnp.bfloat16, jnp.float16):
        found = augment.normalize(scaled.astype(dtype), MEAN, STD)
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found, expected, atol=0.02)
    np.testing.assert_allclose(augment.normalize(image / 255, MEAN, STD), expected, atol=1e-6)
    both = augment.make_augment(MEAN, STD)
    np.testing.assert_allclose(
        both(KEYS[:1], scaled[None]), both(KEYS[:1], image[None]), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("dtype", [np.int32, np.int8, np.uint16, np.int64, bool])
@pytest.mark.parametrize("traced", [False, True])
def test_other_integers_are_refused(image, dtype, traced):
    for function in (
        lambda images: augment.normalize(images, MEAN, STD),
        lambda images: augment.make_augment(MEAN, STD)(KEYS[:1], images[None]),
    ):
        with pytest.raises(AugmentError, match=r"images are uint8 \(0 to 255\) or floats \(0 to 1\), not "):
            (jax.jit(function) if traced else function)(image.astype(dtype))


@pytest.mark.parametrize("wrong", [-0.01, 1.01, 255.0, np.inf])
def test_floats_out_of_range_are_refused_where_their_values_are_known(image, wrong):
    images = image.astype(np.float32) / 255
    images[3, 4, 1] = wrong
    for kind in (np.asarray, jnp.asarray):
        with pytest.raises(AugmentError, match="images of float32 have values from 0 to 1, not from"):
            augment.normalize(kind(images), MEAN, STD)
        with pytest.raises(AugmentError, match="divide by 255"):
            augment.make_augment(MEAN, STD)(KEYS[:1], kind(images)[None])


@pytest.mark.parametrize("padding", ["black", "mean"])
def test_images_are_resized_last(image, padding):
    images = jnp.stack([image, image[::-1]])
    full = augment.make_augment(MEAN, STD, padding=padding, cutout_size=8)(KEYS[:2], images)
    small = augment.make_augment(MEAN, STD, padding=padding, cutout_size=8, size=12)(KEYS[:2], images)
    np.testing.assert_allclose(small, jax.image.resize(full, (2, 12, 12, 3), "bilinear"), atol=1e-5)


def test_floats_that_are_no_numbers_are_refused(image):
    images = image.astype(np.float32) / 255
    images[3, 4, 1] = np.nan
    for kind in (np.asarray, jnp.asarray):
        with pytest.raises(AugmentError, match="images of float32 have values from 0 to 1, not NaN"):
            augment.normalize(kind(images), MEAN, STD)
    assert augment.normalize(np.zeros((0, 4, 4, 3), np.float32), MEAN, STD).shape == (0, 4, 4, 3)


def test_randaugment_takes_uint8_alone(image):
    with pytest.raises(AugmentError, match="RandAugment is for uint8 images, not float32"):
        augment.make_augment(MEAN, STD, randaugment_ops=1)(KEYS[:1], jnp.asarray(image[None]) / 255)


@pytest.mark.parametrize("padding", ["black", "mean"])
def test_no_dtype_is_promoted_implicitly(image, padding):
    together = augment.make_augment(
        MEAN, STD, padding=padding, flip="alternating", randaugment_ops=1, cutout_size=8
    )
    mix = augment.make_mix(3, mixup_alpha=0.4, cutmix_alpha=1.0)

    def both(keys, images, index):
        images = together(keys, images, index=index, epoch=jnp.int32(1))
        return mix(keys, images, index % 3)

    with jax.numpy_dtype_promotion("strict"):
        images, soft = jax.eval_shape(both, KEYS[:4], jnp.stack([image] * 4), jnp.arange(4))
    assert images.dtype == soft.dtype == jnp.float32
