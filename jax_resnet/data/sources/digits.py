"""scikit-learn's handwritten digits: real, small, and installed with it, without a download."""

import numpy as np

from jax_resnet.data.dataset import ArrayDataset, ArraySplit, Dataset, channel_statistics
from jax_resnet.data.registry import DatasetSpec
from jax_resnet.errors import DataError

__all__ = ["load"]


def load(spec: DatasetSpec) -> ArrayDataset:
    """The 1,797 digits of scikit-learn as images of 32x32x3; every fifth of a class is a test image.

    Raises:
        DataError: scikit-learn or Pillow is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DataError(
            "the digits come with scikit-learn, which is not installed: pip install scikit-learn"
        ) from error
    try:
        from PIL import Image
    except ImportError as error:
        raise DataError("the digits need Pillow, which is not installed: pip install pillow") from error

    small, labels = load_digits(return_X_y=True)
    pixels = np.round(small.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    size = spec.image_shape[:2]
    resized = [Image.fromarray(digit).resize(size, Image.Resampling.BICUBIC) for digit in pixels]
    gray = np.stack([np.asarray(image) for image in resized])
    images = np.repeat(gray[..., None], spec.image_shape[2], axis=-1)
    is_test = np.zeros(len(labels), bool)
    for digit in range(len(spec.class_names)):
        is_test[np.flatnonzero(labels == digit)[4::5]] = True
    labels = labels.astype(np.int32)
    mean, std = channel_statistics(images[~is_test])
    return Dataset(
        name=spec.name,
        train=ArraySplit(images[~is_test], labels[~is_test]),
        test=ArraySplit(images[is_test], labels[is_test]),
        class_names=spec.class_names,
        mean=mean,
        std=std,
    )
