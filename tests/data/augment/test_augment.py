"""Properties of the augmentations; RandAugment's operations against Pillow's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_resnet.data import augment
from jax_resnet.data.augment.mixing import cutmix, mixup
from tests.data.augment.images import structured

KEYS = jax.random.split(jax.random.key(0), 2000)


@pytest.fixture(scope="module")
def image():
    return structured()


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
