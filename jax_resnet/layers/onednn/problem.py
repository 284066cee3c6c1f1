"""A convolution as the extension's array of integers, and what it computes, in NumPy."""

import itertools
from collections.abc import Sequence

import numpy as np

__all__ = ["BIAS", "DTYPES", "KINDS", "RELU", "RESIDUAL", "convolve", "pack_problem"]

KINDS = ("forward", "input_gradient", "weight_gradient")
DTYPES = ("float32", "bfloat16")
# What follows a forward convolution, a bit each.
BIAS, RESIDUAL, RELU = 1, 2, 4


def pack_problem(
    kind: str,
    dtype: str,
    groups: int,
    shapes: Sequence[Sequence[int]],
    strides: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[Sequence[int]],
    epilogue: int = 0,
    *,
    direct: bool = False,
) -> np.ndarray:
    """Returns the 25 integers; ``Problem`` in conv.cc reads them.

    Args:
        kind: One of ``KINDS``.
        dtype: One of ``DTYPES``: the dtype of all three arrays.
        groups: Number of groups.
        shapes: Shapes of ``x`` (NHWC), ``w`` (HWIO, with the inputs of one group) and ``y`` (NHWC).
        strides: Strides of the two spatial axes.
        dilation: Dilation of the two spatial axes; 1 for dense kernels.
        padding: Pairs (before, after) of the two spatial axes.
        epilogue: Sum of ``BIAS``, ``RESIDUAL`` and ``RELU``; 0 for the convolution alone.
        direct: Never by Winograd's algorithm.
    """
    before, after = zip(*padding, strict=True)
    numbers = [KINDS.index(kind), DTYPES.index(dtype), groups]
    for part in (*shapes, strides, dilation, before, after):
        numbers += part
    numbers += (epilogue, int(direct))
    return np.array(numbers, np.int64)


def convolve(
    kind: str,
    x: np.ndarray,
    w: np.ndarray,
    y: np.ndarray,
    groups: int,
    strides: tuple[int, int],
    dilation: tuple[int, int],
    padding: tuple[tuple[int, int], tuple[int, int]],
) -> np.ndarray:
    """Computes one operation group by group and tap by tap: slow, and simple enough to be a reference.

    ``kind`` decides which of ``x``, ``w`` and ``y`` is computed; of that one only the shape is used. ``y``
    is the gradient where ``x`` or ``w`` is computed.
    """
    height, width, inputs, outputs = w.shape
    padded = np.pad(np.zeros_like(x) if kind == "input_gradient" else x, ((0, 0), *padding, (0, 0)))
    result = {"forward": np.zeros_like(y), "input_gradient": padded, "weight_gradient": np.zeros_like(w)}[
        kind
    ]
    for group, i, j in itertools.product(range(groups), range(height), range(width)):
        rows, columns = (
            slice(tap * d, tap * d + (size - 1) * stride + 1, stride)
            for tap, d, stride, size in zip((i, j), dilation, strides, y.shape[1:3], strict=True)
        )
        ins = slice(group * inputs, (group + 1) * inputs)
        outs = slice(group * (outputs // groups), (group + 1) * (outputs // groups))
        window = padded[:, rows, columns, ins]
        if kind == "forward":
            result[..., outs] += window @ w[i, j, :, outs]
        elif kind == "input_gradient":
            window += y[..., outs] @ w[i, j, :, outs].T
        else:
            result[i, j, :, outs] = np.tensordot(window, y[..., outs], ((0, 1, 2), (0, 1, 2)))
    if kind == "input_gradient":
        (top, bottom), (left, right) = padding
        result = result[:, top : result.shape[1] - bottom, left : result.shape[2] - right]
    return result
