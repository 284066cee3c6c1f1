"""The array of integers by which the extension knows a convolution."""

from collections.abc import Sequence

import numpy as np

KINDS = ("forward", "input_gradient", "weight_gradient")
DTYPES = ("float32", "bfloat16")


def pack_problem(
    kind: str,
    dtype: str,
    groups: int,
    shapes: Sequence[Sequence[int]],
    strides: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[Sequence[int]],
) -> np.ndarray:
    """Returns the 23 integers; ``Problem`` in conv.cc reads them.

    Args:
        kind: One of ``KINDS``.
        dtype: One of ``DTYPES``, of all three arrays.
        groups: Number of groups.
        shapes: Of ``x`` (NHWC), ``w`` (HWIO, the inputs of one group) and ``y`` (NHWC).
        strides: Of both spatial axes, as all that follow.
        dilation: One for dense kernels.
        padding: Pairs (before, after).
    """
    before, after = zip(*padding, strict=True)
    numbers = [KINDS.index(kind), DTYPES.index(dtype), groups]
    for part in (*shapes, strides, dilation, before, after):
        numbers += part
    return np.array(numbers, np.int64)
