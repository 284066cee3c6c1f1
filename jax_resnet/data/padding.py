"""Pads small images for networks that want larger ones: MNIST's 28x28 digits to LeNet-5's 32x32."""

import numpy as np

__all__ = ["pad"]


def pad(images: np.ndarray, height: int, width: int) -> np.ndarray:
    """Centers images on black where they are smaller than ``(height, width)``.

    An odd row of padding goes below, an odd column to the right.

    Args:
        images: uint8 array of shape (N, H, W, channels).
        height: Least height of the result, in pixels.
        width: Least width of the result, in pixels.

    Returns:
        uint8 array of shape (N, max(H, height), max(W, width), channels).
    """
    missing = (max(0, height - images.shape[1]), max(0, width - images.shape[2]))
    if not any(missing):
        return images
    (top, bottom), (left, right) = ((n // 2, n - n // 2) for n in missing)
    return np.pad(images, ((0, 0), (top, bottom), (left, right), (0, 0)))
