"""Compares a freshly compiled extension with NumPy: ``python selftest.py DNNL_LIBRARY EXTENSION``.

It runs in a process of its own, so that not even a crash reaches the program that needs the extension,
and without JAX, so that it takes a moment only. The exit status is 0 if everything is right.
"""

import ctypes
import itertools
import sys
from collections.abc import Callable

import ml_dtypes
import numpy as np
from problem import BIAS, DTYPES, KINDS, RELU, RESIDUAL, convolve, pack_problem  # type: ignore[import-not-found]

__all__ = [
    "CONVOLUTIONS",
    "CONVOLUTION_ERROR",
    "NORMS",
    "NORM_ERROR",
    "NUMPY_DTYPES",
    "check_convolution",
    "check_norm",
    "main",
]

# Batch, size, inputs, outputs, kernel, stride, padding, dilation, groups.
CONVOLUTIONS = (
    (2, 8, 16, 16, 3, 1, (1, 1), 1, 1),
    (2, 9, 3, 8, 7, 2, (3, 3), 1, 1),
    (1, 8, 32, 64, 1, 2, (0, 0), 1, 1),
    (2, 9, 16, 16, 3, 2, (0, 1), 2, 4),
    (2, 8, 48, 80, 3, 1, (1, 1), 1, 1),  # more outputs than blocks have room for
    (4, 9, 32, 48, 3, 1, (0, 2), 1, 1),  # by Winograd's algorithm: an odd size, half a panel of features
)
# Rows, channels.
NORMS = ((300, 16), (96, 48), (70, 128), (64, 4))
NUMPY_DTYPES = {"float32": np.float32, "bfloat16": ml_dtypes.bfloat16}
# Largest error, as a fraction of the largest result.
CONVOLUTION_ERROR = {"float32": 1e-5, "bfloat16": 1e-2}
NORM_ERROR = {"float32": 1e-4, "bfloat16": 1e-2}


def main(dnnl: str, extension: str) -> int:
    """Returns 0 if the extension computes what NumPy does."""
    ctypes.CDLL(dnnl)
    library = ctypes.CDLL(extension)
    library.jax_resnet_configure(2, 0)
    random = np.random.default_rng(0)
    problems = [
        *(
            check_convolution(library, random, *case)
            for case in itertools.product(CONVOLUTIONS, KINDS, DTYPES)
        ),
        *(check_epilogue(library, random, *case) for case in itertools.product(CONVOLUTIONS, DTYPES)),
        *(check_norm(library, random, *case) for case in itertools.product(NORMS, DTYPES)),
    ]
    for problem in filter(None, problems):
        print(problem)
        return 1
    return 0


def check_convolution(
    library: ctypes.CDLL, random: np.random.Generator, case: tuple, kind: str, dtype: str
) -> str | None:
    """Returns what is wrong with an operation; None if nothing is, or if there is no kernel for it."""
    groups, shapes, window = _arguments(case)
    x, w, y = (random.standard_normal(shape, np.float32).astype(NUMPY_DTYPES[dtype]) for shape in shapes)
    problem = pack_problem(kind, dtype, groups, shapes, *window)
    if not library.jax_resnet_is_supported(_pointer(problem)):
        return None
    expected = convolve(kind, *(v.astype(np.float32) for v in (x, w, y)), groups, *window)
    out = np.full(expected.shape, np.nan, x.dtype)
    a, b = {"forward": (x, w), "input_gradient": (y, w), "weight_gradient": (x, y)}[kind]
    name = f"{dtype} {kind} of {case}"
    if library.jax_resnet_run(*map(_pointer, (problem, a, b, out))) != 0:
        return f"{name} failed"
    return _difference(name, [out], [expected], CONVOLUTION_ERROR[dtype])


def check_epilogue(library: ctypes.CDLL, random: np.random.Generator, case: tuple, dtype: str) -> str | None:
    """Returns what is wrong with a convolution, bias, residual and ReLU in one; None if nothing is."""
    groups, shapes, window = _arguments(case)
    x, w, residual = (
        random.standard_normal(shape, np.float32).astype(NUMPY_DTYPES[dtype]) for shape in shapes
    )
    bias = random.standard_normal(shapes[1][3], np.float32)
    problem = pack_problem("forward", dtype, groups, shapes, *window, BIAS + RESIDUAL + RELU)
    if not library.jax_resnet_is_supported(_pointer(problem)):
        return None
    wide = [v.astype(np.float32) for v in (x, w, residual)]
    expected = np.maximum(convolve("forward", *wide, groups, *window) + bias + wide[2], 0)
    out = np.full(expected.shape, np.nan, x.dtype)
    name = f"{dtype} forward with bias of {case}"
    if library.jax_resnet_run_with_bias(*map(_pointer, (problem, x, w, bias, residual, out))) != 0:
        return f"{name} failed"
    return _difference(name, [out], [expected], CONVOLUTION_ERROR[dtype])


def check_norm(library: ctypes.CDLL, random: np.random.Generator, shape: tuple, dtype: str) -> str | None:
    """Returns what is wrong with batch normalization with residual and ReLU; None if nothing is."""
    epsilon, (rows, channels) = 1e-3, shape
    given = random.standard_normal((3, *shape), np.float32).astype(NUMPY_DTYPES[dtype])
    x, residual, g = given.astype(np.float32)
    scale, bias = random.standard_normal((2, channels), np.float32)
    mean, var = x.mean(0), x.var(0)
    normal = (x - mean) / np.sqrt(var + epsilon)
    y = np.maximum(normal * scale + bias + residual, 0)
    y_given = y.astype(given.dtype)
    passed = g * (y_given.astype(np.float32) > 0)
    gscale, gbias = (passed * normal).sum(0), passed.sum(0)
    gx = scale / np.sqrt(var + epsilon) * (passed - (gbias + normal * gscale) / rows)

    def compute(call: Callable[..., int], arguments: tuple, results: tuple) -> str | None:
        # The first result and those of its shape have the dtype of the images, the others float32.
        outs = [np.full(r.shape, np.nan, given.dtype if r.ndim > 1 else np.float32) for r in results]
        sizes = (int(dtype == "bfloat16"), ctypes.c_int64(x.size), ctypes.c_int64(channels))
        name = f"{dtype} {call.__name__} of {shape}"
        if call(*sizes, ctypes.c_float(epsilon), *map(_pointer, (*arguments, *outs))) != 0:
            return f"{name} failed"
        return _difference(name, outs, results, NORM_ERROR[dtype])

    return compute(
        library.jax_resnet_norm_forward, (given[0], scale, bias, given[1]), (y, mean, var)
    ) or compute(
        library.jax_resnet_norm_backward,
        (given[2], given[0], y_given, scale, mean, var),
        (gx, gscale, gbias, passed),
    )


def _arguments(case: tuple) -> tuple[int, tuple, tuple]:
    """Groups, shapes of x, w and y, and the window of one of ``CONVOLUTIONS``."""
    n, size, inputs, outputs, taps, stride, (low, high), dilation, groups = case
    new_size = (size + low + high - (taps - 1) * dilation - 1) // stride + 1
    shapes = (
        (n, size, size, inputs),
        (taps, taps, inputs // groups, outputs),
        (n, new_size, new_size, outputs),
    )
    return groups, shapes, ((stride, stride), (dilation, dilation), ((low, high), (low, high)))


def _pointer(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def _difference(name: str, outs: list, expected: list | tuple, limit: float) -> str | None:
    errors = [
        np.abs(o.astype(np.float32) - e).max() / np.abs(e).max() for o, e in zip(outs, expected, strict=True)
    ]
    worst = np.max(errors)  # NaN if one of them is.
    return None if worst < limit else f"{name} is off by {worst:.1e}"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
