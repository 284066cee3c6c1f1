import jax
import jax.numpy as jnp
import numpy as np

from jax_resnet.data.augment import average_views, flip_and_shift_views, flip_views

IMAGES = jax.random.normal(jax.random.key(0), (5, 8, 6, 3))
WEIGHTS = jax.random.normal(jax.random.key(1), (8 * 6 * 3, 4))


def predict(images):
    return images.reshape(len(images), -1) @ WEIGHTS


def test_the_average_is_that_of_probabilities():
    found = jax.jit(average_views(predict))(IMAGES)
    expected = (jax.nn.softmax(predict(IMAGES)) + jax.nn.softmax(predict(IMAGES[:, :, ::-1]))) / 2
    np.testing.assert_allclose(jnp.exp(found), expected, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(jax.nn.softmax(found), expected, rtol=1e-4, atol=1e-7)


def test_a_mirrored_image_is_predicted_as_the_image():
    average = average_views(predict, flip_views)
    np.testing.assert_allclose(average(IMAGES), average(IMAGES[:, :, ::-1]), rtol=1e-4, atol=1e-5)


def test_shifted_views_are_windows_of_the_mirrored_border():
    views = flip_and_shift_views(IMAGES, 2)
    assert len(views) == 6
    assert sum(weight for _, weight in views) == 1
    assert [weight for _, weight in views[:2]] == [0.25, 0.25]
    padded = np.pad(IMAGES, ((0, 0), (2, 2), (2, 2), (0, 0)), "reflect")
    expected = [IMAGES, padded[:, :8, :6], padded[:, 4:, 4:]]
    for straight, image in zip(views[::2], expected, strict=True):
        np.testing.assert_array_equal(straight[0], image)
    for (straight, _), (mirrored, _) in zip(views[::2], views[1::2], strict=True):
        np.testing.assert_array_equal(straight[:, :, ::-1], mirrored)
