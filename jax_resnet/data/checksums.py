"""Verifies that decoded arrays are the data set they claim to be."""

import hashlib

import numpy as np

from jax_resnet.data.dataset import Splits
from jax_resnet.data.registry import DatasetSpec
from jax_resnet.errors import DataError

__all__ = ["sha256", "verify"]


def sha256(array: np.ndarray) -> str:
    """SHA-256 of an array's values as uint8, in C order."""
    return hashlib.sha256(np.ascontiguousarray(array, np.uint8).tobytes()).hexdigest()


def verify(splits: Splits, spec: DatasetSpec, origin: str) -> None:
    """Checks shapes, dtypes, label ranges and, where they are known, the SHA-256 sums.

    Args:
        splits: The training and the test split.
        spec: What they should be.
        origin: Where they come from, for the message.

    Raises:
        DataError: An array is wrong; the message names ``origin`` and the array.
    """
    for part, size, split in zip(("train", "test"), (spec.train_size, spec.test_size), splits, strict=True):
        expected = (size, *spec.image_shape)
        if split.images.shape != expected or split.images.dtype != np.uint8:
            raise DataError(f"{origin}: {part} images are {split.images.shape}, {spec.title} has {expected}")
        _verify_labels(split.labels, size, len(spec.class_names), f"{origin}: {part} labels")
        if spec.coarse_names:
            coarse = split.coarse_labels
            if coarse is None:
                raise DataError(f"{origin}: {part} has no coarse labels")
            _verify_labels(coarse, size, len(spec.coarse_names), f"{origin}: {part} coarse labels")
    if spec.sums is None:
        return
    train, test = splits
    for name, array, expected_sum in (
        ("train images", train.images, spec.sums.train_images),
        ("train labels", train.labels, spec.sums.train_labels),
        ("test images", test.images, spec.sums.test_images),
        ("test labels", test.labels, spec.sums.test_labels),
    ):
        found = sha256(array)
        if found != expected_sum:
            raise DataError(
                f"{origin}: the {name} are not those of {spec.title} "
                f"(SHA-256 {found[:12]}..., expected {expected_sum[:12]}...)"
            )


def _verify_labels(labels: np.ndarray, size: int, num_classes: int, name: str) -> None:
    if labels.shape != (size,):
        raise DataError(f"{name} are {labels.shape}, expected {(size,)}")
    low, high = labels.min(initial=0), labels.max(initial=0)
    if low < 0 or high >= num_classes:
        raise DataError(f"{name} reach from {low} to {high}, expected 0 to {num_classes - 1}")
