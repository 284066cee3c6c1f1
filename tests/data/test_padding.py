import numpy as np

from jax_resnet.data import ArraySplit, Dataset
from jax_resnet.data.padding import pad


def test_padding_centres_on_black():
    images = np.random.default_rng(0).integers(1, 256, (3, 28, 27, 1), dtype=np.uint8)
    found = pad(images, 32, 32)
    assert found.shape == (3, 32, 32, 1)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found[:, 2:30, 2:29], images)
    assert found.sum() == images.sum()


def test_images_of_the_size_or_larger_stay():
    images = np.ones((2, 40, 32, 3), np.uint8)
    assert pad(images, 32, 32) is images


def test_a_padded_data_set_keeps_its_labels_and_statistics():
    rng = np.random.default_rng(0)
    train, test = (
        ArraySplit(rng.integers(0, 256, (n, 28, 28, 1), dtype=np.uint8), np.arange(n, dtype=np.int32))
        for n in (4, 3)
    )
    dataset = Dataset("mnist", train, test, ("0",), (0.1,), (0.3,))
    found = dataset.padded((32, 32))
    assert (found.mean, found.std) == (dataset.mean, dataset.std)
    for new, old in ((found.train, train), (found.test, test)):
        np.testing.assert_array_equal(new.images[:, 2:-2, 2:-2], old.images)
        np.testing.assert_array_equal(new.labels, old.labels)
