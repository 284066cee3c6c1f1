"""scikit-learn's handwritten digits: real, small, and there without any download."""

import numpy as np

from jax_resnet.data.dataset import ArrayDataset, ArraySplit, Dataset, channel_statistics
from jax_resnet.data.registry import Spec
from jax_resnet.errors import DataError


def load(spec: Spec) -> ArrayDataset:
    """The 1,797 digits of scikit-learn as pictures of 32x32x3, every fifth of a class for testing.

    Raises:
        DataError: if scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DataError(
            "the digits come with scikit-learn, which is not installed: pip install scikit-learn"
        ) from error
    from PIL import Image

    small, labels = load_digits(return_X_y=True)
    pixels = np.round(small.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    size = spec.image_shape[:2]
    pictures = [Image.fromarray(digit).resize(size, Image.Resampling.BICUBIC) for digit in pixels]
    resized = np.stack([np.asarray(picture) for picture in pictures])
    images = np.repeat(resized[..., None], spec.image_shape[2], axis=-1)
    held_out = np.zeros(len(labels), bool)
    for digit in range(len(spec.class_names)):
        held_out[np.flatnonzero(labels == digit)[4::5]] = True
    labels = labels.astype(np.int32)
    mean, std = channel_statistics(images[~held_out])
    return Dataset(
        name=spec.name,
        train=ArraySplit(images[~held_out], labels[~held_out]),
        test=ArraySplit(images[held_out], labels[held_out]),
        class_names=spec.class_names,
        mean=mean,
        std=std,
    )
