"""Compares a freshly built extension with NumPy: ``python selftest.py DNNL_LIBRARY EXTENSION``.

It runs in a process of its own, so that not even a crash reaches the program that wants to use the
extension, and without JAX, so that it takes a moment only. The exit status is 0 if all is well.
"""

import ctypes
import itertools
import sys

import numpy as np
from problem import KINDS, convolve, pack_problem  # type: ignore[import-not-found]


def main(dnnl: str, extension: str) -> int:
    """Returns 0 if the extension computes what NumPy does."""
    ctypes.CDLL(dnnl)
    library = ctypes.CDLL(extension)
    library.jax_resnet_configure(2, 0)
    random = np.random.default_rng(0)
    # Batch, size, inputs, outputs, kernel, stride, padding, dilation, groups.
    cases = [
        (2, 8, 16, 16, 3, 1, (1, 1), 1, 1),
        (2, 9, 3, 8, 7, 2, (3, 3), 1, 1),
        (1, 8, 32, 64, 1, 2, (0, 0), 1, 1),
        (2, 9, 16, 16, 3, 2, (0, 1), 2, 4),
    ]
    for case, kind in itertools.product(cases, KINDS):
        n, size, inputs, outputs, taps, stride, (low, high), dilation, groups = case
        new_size = (size + low + high - (taps - 1) * dilation - 1) // stride + 1
        x = random.standard_normal((n, size, size, inputs), np.float32)
        w = random.standard_normal((taps, taps, inputs // groups, outputs), np.float32)
        y = random.standard_normal((n, new_size, new_size, outputs), np.float32)
        window = ((stride, stride), (dilation, dilation), ((low, high), (low, high)))
        problem = pack_problem(kind, "float32", groups, (x.shape, w.shape, y.shape), *window)
        expected = convolve(kind, x, w, y, groups, *window)
        out = np.full(expected.shape, np.nan, np.float32)
        a, b = {"forward": (x, w), "input_gradient": (y, w), "weight_gradient": (x, y)}[kind]
        pointers = [ctypes.c_void_p(array.ctypes.data) for array in (problem, a, b, out)]
        if not library.jax_resnet_is_supported(pointers[0]):
            continue
        if library.jax_resnet_run(*pointers) != 0:
            print(f"{kind} of {case} failed")
            return 1
        error = np.abs(out - expected).max() / np.abs(expected).max()
        if not error < 1e-5:
            print(f"{kind} of {case} is off by {error:.1e}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
