"""Small images for networks that want larger ones: MNIST's 28x28 digits on 32x32, as LeNet-5 had them."""

import dataclasses

import numpy as np

from jax_resnet.data.dataset import Dataset, Split


def pad(images: np.ndarray, height: int, width: int) -> np.ndarray:
    """Centers images, uint8 (N, H, W, channels), on black ones of that size, where they are smaller.

    An odd pixel goes below and to the right.
    """
    missing = (max(0, height - images.shape[1]), max(0, width - images.shape[2]))
    if not any(missing):
        return images
    (top, bottom), (left, right) = ((n // 2, n - n // 2) for n in missing)
    return np.pad(images, ((0, 0), (top, bottom), (left, right), (0, 0)))


def padded(dataset: Dataset, size: tuple[int, int]) -> Dataset:
    """The data set with its images padded to ``(height, width)`` or more; ``mean`` and ``std`` stay.

    Larger images stay as they are.
    """

    def on(split: Split) -> Split:
        return dataclasses.replace(split, images=pad(split.images, *size))

    return dataclasses.replace(dataset, train=on(dataset.train), test=on(dataset.test))
