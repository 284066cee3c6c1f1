"""Layouts of arrays: PyTorch's to this library's and back; channels of the first convolution."""

import numpy as np

from jax_resnet.convert.template import Path, Shape
from jax_resnet.errors import WeightsError

__all__ = ["adapt_channels", "as_expected", "from_torch_layout", "to_torch_layout"]


def as_expected(array: np.ndarray, shape: Shape | None) -> np.ndarray:
    """Reshapes linear weights to those of a 1x1 convolution, or back, where that gives ``shape``."""
    if shape is not None and {array.ndim, len(shape)} == {2, 4} and array.size == np.prod(shape):
        matrix, other = (array.shape, shape) if array.ndim == 2 else (shape, array.shape)
        return array.reshape(shape) if (*matrix, 1, 1) == tuple(other) else array
    return array


def from_torch_layout(array: np.ndarray, path: Path) -> np.ndarray:
    """Transposes OIHW to HWIO, (out, in) to (in, out)."""
    if path[-1] == "kernel":
        array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
        array = array[0, 0] if "se" in path else array
    return np.ascontiguousarray(array)


def to_torch_layout(array: np.ndarray, path: Path) -> np.ndarray:
    """Transposes HWIO to OIHW, (in, out) to (out, in); a new array."""
    if path[-1] == "kernel":
        array = array[None, None] if "se" in path else array
        array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
    return np.array(array, order="C")


def adapt_channels(kernel: np.ndarray, channels: int) -> np.ndarray:
    """Makes weights of the first convolution for images of another number of channels, as timm does.

    To one channel the weights are summed: a gray image gives what its copy in every channel gave. To more,
    they are repeated and scaled by ``old / new``, which keeps the size of the outputs.

    Args:
        kernel: ``(out, in, height, width)``.
        channels: The new number of channels.

    Raises:
        WeightsError: ``channels`` is not positive, or the weights are not those of a convolution.
    """
    if channels < 1:
        raise WeightsError(f"in_channels must be at least 1, not {channels}")
    if kernel.ndim != 4:
        raise WeightsError(f"in_channels adapts a convolution's weights (O, I, H, W), not {kernel.shape}")
    old = kernel.shape[1]
    if channels == old:
        return kernel
    if channels == 1:
        return kernel.sum(1, keepdims=True)
    repeated = np.tile(kernel, (1, -(-channels // old), 1, 1))[:, :channels]
    return repeated * np.asarray(old / channels, kernel.dtype)
