import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_resnet.data import augment
from jax_resnet.data.augment.mixing import cutmix, mixup
from jax_resnet.errors import AugmentError

KEYS = jax.random.split(jax.random.key(0), 2000)


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_mixup_is_its_formula_with_a_beta_distributed_lam(alpha):
    image, other = jnp.full((4, 4, 3), 2.0), jnp.full((4, 4, 3), -1.0)
    mixed, lam = jax.vmap(lambda key: mixup(key, image, other, alpha))(KEYS)
    np.testing.assert_allclose(
        mixed, np.broadcast_to((3 * lam - 1)[:, None, None, None], mixed.shape), atol=1e-5
    )
    assert ((lam >= 0) & (lam <= 1)).all()
    # Beta(a, a): mean 1/2, variance 1 / (4 (2a + 1)); four standard errors.
    std = (1 / (4 * (2 * alpha + 1))) ** 0.5
    assert float(lam.mean()) == pytest.approx(0.5, abs=4 * std / len(KEYS) ** 0.5)
    assert float(lam.std()) == pytest.approx(std, rel=0.1)


def test_cutmix_shows_as_much_of_each_image_as_lam_says():
    image, other = jnp.zeros((16, 16, 1)), jnp.ones((16, 16, 1))
    mixed, lam = jax.vmap(lambda key: cutmix(key, image, other, 1.0))(KEYS)
    mixed = np.asarray(mixed)[..., 0]
    assert set(np.unique(mixed)) == {0.0, 1.0}
    np.testing.assert_allclose(mixed.mean((1, 2)), 1 - lam, atol=1e-6)
    np.testing.assert_array_equal(mixed.sum((1, 2)), mixed.any(2).sum(1) * mixed.any(1).sum(1))
    assert 0.5 < float(lam.mean()) < 0.75  # the border cuts rectangles off


@pytest.mark.parametrize("alphas", [(0.4, 0.0), (0.0, 1.0), (0.4, 1.0)])
@pytest.mark.slow
def test_mixed_labels_add_up_and_say_what_is_in_the_image(alphas):
    mix = jax.jit(augment.make_mix(5, mixup_alpha=alphas[0], cutmix_alpha=alphas[1]))
    labels = jnp.asarray([0, 1, 2, 3, 3])
    # Each image is as bright as its label, so that mean brightness is the mean label.
    images = jnp.broadcast_to(labels.astype(jnp.float32)[:, None, None, None], (5, 8, 8, 1))
    mixed, soft = mix(KEYS[:5], images, labels)
    np.testing.assert_allclose(soft.sum(1), 1, rtol=1e-5)
    assert (np.asarray(soft) >= 0).all()
    np.testing.assert_allclose(mixed.mean((1, 2, 3)), soft @ jnp.arange(5.0), atol=1e-4)
    assert (np.count_nonzero(soft, axis=1) <= 2).all()
    np.testing.assert_array_equal(mix(KEYS[:5], images, labels)[1], soft)
    assert augment.make_mix(5) is None


def test_the_partner_is_the_previous_row_or_the_one_given():
    mix = augment.make_mix(4, cutmix_alpha=1.0)
    labels = jnp.arange(4)
    images = jnp.broadcast_to(labels.astype(jnp.float32)[:, None, None, None], (4, 8, 8, 1))
    partners = (jnp.roll(images, 1, 0), jnp.roll(labels, 1))
    for one, other in zip(
        mix(KEYS[:4], images, labels), mix(KEYS[:4], images, labels, partners), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    mixed, soft = mix(KEYS[:4], images, labels, (images + 9, jnp.full(4, 3)))
    for row, label in enumerate(labels):
        assert set(np.unique(mixed[row])) <= {float(label), float(label) + 9}
        assert set(np.flatnonzero(soft[row])) <= {int(label), 3}


def test_a_negative_alpha_is_refused():
    with pytest.raises(AugmentError, match="alpha is above 0, or 0 for none, not -1"):
        augment.make_mix(5, mixup_alpha=-1)


@pytest.mark.parametrize("alpha", [float("nan"), float("inf")])
def test_an_alpha_that_is_not_finite_is_refused(alpha):
    with pytest.raises(AugmentError, match=f"alpha is above 0, or 0 for none, not {alpha}"):
        augment.make_mix(10, cutmix_alpha=alpha)


@pytest.mark.parametrize("wrong", [-1, 3])
def test_a_label_that_does_not_exist_shows_in_the_probabilities(wrong):
    mix = augment.make_mix(3, mixup_alpha=0.2)
    keys = jax.random.split(jax.random.key(0), 4)
    _, probabilities = mix(keys, jnp.ones((4, 2, 2, 3)), jnp.asarray([0, wrong, 2, 1]))
    # Its own row, and that of the image whose partner it is.
    assert np.isnan(probabilities).all(1).tolist() == [False, True, True, False]


@pytest.mark.parametrize("classes", [256, 1000])
def test_labels_of_8_bits_serve_any_number_of_classes(classes):
    mix = augment.make_mix(classes, cutmix_alpha=1.0)
    keys, images = jax.random.split(jax.random.key(0), 4), jnp.ones((4, 8, 8, 3))
    narrow, wide = (mix(keys, images, jnp.asarray([0, 5, 7, 255], t))[1] for t in (jnp.uint8, jnp.int32))
    np.testing.assert_array_equal(narrow, wide)
    np.testing.assert_allclose(narrow.sum(1), 1, rtol=1e-6)
