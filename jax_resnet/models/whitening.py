"""Weights of a first convolution that whitens the patches of images (Page 2018; Jordan 2024, section 3.2)."""

import jax.numpy as jnp
import numpy as np

from jax_resnet.errors import ModelError

__all__ = ["whitening_kernel"]


def whitening_kernel(images: np.ndarray | jnp.ndarray, size: int = 2, *, epsilon: float = 5e-4) -> np.ndarray:
    """The kernel whose outputs, over the patches of ``images``, are uncorrelated and of variance 1.

    The eigenvectors of the patches' second moments, each divided by the square root of its eigenvalue, and
    then their negatives, so that nothing is lost to a ReLU or GELU that follows.

    >>> import numpy as np
    >>> images = np.random.default_rng(0).normal(size=(100, 8, 8, 3))
    >>> whitening_kernel(images).shape
    (2, 2, 3, 24)

    Args:
        images: ``(N, H, W, C)``, floating point, normalized as the network sees them; some thousands are
            enough.
        size: Side of the patches.
        epsilon: Added to the eigenvalues.

    Returns:
        ``(size, size, C, 2 * size * size * C)``, float32, HWIO; the largest eigenvalue first.

    Raises:
        ModelError: Images of another shape, or smaller than a patch.
    """
    images = np.asarray(images)
    if images.ndim != 4 or min(images.shape[1:3]) < size or not len(images):
        raise ModelError(f"images are (N, H, W, C), {size}x{size} or larger, not of shape {images.shape}")
    channels = images.shape[-1]
    windows = np.lib.stride_tricks.sliding_window_view(images, (size, size), (1, 2))
    # (N, H', W', C, size, size) to rows in the order of a kernel's height, width and channels.
    patches = np.moveaxis(windows, 3, 5).reshape(-1, size * size * channels).astype(np.float64)
    eigenvalues, vectors = np.linalg.eigh(patches.T @ patches / len(patches))
    scaled = (vectors / np.sqrt(eigenvalues + epsilon))[:, ::-1]
    kernel = np.concatenate([scaled, -scaled], 1).astype(np.float32)
    return kernel.reshape(size, size, channels, -1)
