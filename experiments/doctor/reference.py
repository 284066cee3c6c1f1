"""The logits of a small ResNet in NumPy and float64, written from the paper: what ours are compared with.

He et al. 2015, section 4.2: three stages of one block, shortcut A, which subsamples and pads with zeros.
"""

from typing import Any

import numpy as np

__all__ = ["EPSILON", "fill", "logits"]

EPSILON = 1e-5


def fill(shapes: dict[str, Any], seed: int = 0) -> dict[str, Any]:
    """Variables like ``shapes``, drawn in the order of their names, as far from initial ones as trained."""
    random = np.random.default_rng(seed)

    def draw(tree: dict[str, Any]) -> dict[str, Any]:
        return {
            name: draw(tree[name]) if isinstance(tree[name], dict) else values(name, tree[name].shape)
            for name in sorted(tree)
        }

    def values(name: str, shape: tuple[int, ...]) -> np.ndarray:
        noise = random.standard_normal(shape)
        if name == "kernel":
            return noise * np.sqrt(2 / np.prod(shape[:-1]))
        return 1 + 0.2 * np.abs(noise) if name in ("scale", "var") else 0.2 * noise

    return draw(shapes)


def logits(variables: dict[str, Any], images: np.ndarray) -> np.ndarray:
    """The logits ``(N, classes)`` of images ``(N, H, W, channels)`` by the running statistics."""
    params, stats = variables["params"], variables["batch_stats"]
    x = convolve(images, params["stem_conv"]["kernel"])
    x = np.maximum(normalize(x, params["stem_norm"], stats["stem_norm"]), 0)
    for name in sorted(name for name in params if "_block" in name):
        block, running = params[name], stats[name]
        strides = 2 if block["conv1"]["kernel"].shape[-1] != x.shape[-1] else 1
        y = convolve(x, block["conv1"]["kernel"], strides)
        y = np.maximum(normalize(y, block["norm1"], running["norm1"]), 0)
        y = normalize(convolve(y, block["conv2"]["kernel"]), block["norm2"], running["norm2"])
        x = x[:, ::strides, ::strides]
        new = (y.shape[-1] - x.shape[-1]) // 2
        x = np.maximum(y + np.pad(x, ((0, 0), (0, 0), (0, 0), (new, new))), 0)
    return x.mean((1, 2)) @ params["head"]["kernel"] + params["head"]["bias"]


def convolve(x: np.ndarray, kernel: np.ndarray, strides: int = 1) -> np.ndarray:
    """A 3x3 convolution with one pixel of zeros around the images."""
    height, width = x.shape[1:3]
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    parts = [
        padded[:, row : row + height : strides, column : column + width : strides] @ kernel[row, column]
        for row in range(3)
        for column in range(3)
    ]
    return np.sum(parts, 0)


def normalize(x: np.ndarray, params: dict[str, np.ndarray], stats: dict[str, np.ndarray]) -> np.ndarray:
    """BatchNorm by running statistics."""
    return (x - stats["mean"]) / np.sqrt(stats["var"] + EPSILON) * params["scale"] + params["bias"]
