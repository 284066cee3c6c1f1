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
    return test_norm(library, random)


def test_norm(library: ctypes.CDLL, random: np.random.Generator) -> int:
    """Returns 0 if batch normalization with residual and ReLU computes what NumPy does."""
    epsilon = 1e-3
    for rows, channels in ((300, 16), (96, 48), (70, 128), (64, 4)):
        x, residual, g = random.standard_normal((3, rows, channels), np.float32)
        scale, bias = random.standard_normal((2, channels), np.float32)
        mean, var = x.mean(0), x.var(0)
        normal = (x - mean) / np.sqrt(var + epsilon)
        y = np.maximum(normal * scale + bias + residual, 0)
        passed = g * (y > 0)
        gscale, gbias = (passed * normal).sum(0), passed.sum(0)
        gx = scale / np.sqrt(var + epsilon) * (passed - (gbias + normal * gscale) / rows)
        for call, given, expected in (
            (library.jax_resnet_norm_forward, (x, scale, bias, residual), (y, mean, var)),
            (library.jax_resnet_norm_backward, (g, x, y, scale, mean, var), (gx, gscale, gbias, passed)),
        ):
            outs = [np.full(array.shape, np.nan, np.float32) for array in expected]
            pointers = [ctypes.c_void_p(array.ctypes.data) for array in (*given, *outs)]
            sizes = (ctypes.c_int64(x.size), ctypes.c_int64(channels), ctypes.c_float(epsilon))
            if call(*sizes, *pointers) != 0:
                print(f"batch normalization of {x.shape} failed")
                return 1
            errors = [np.abs(o - e).max() / np.abs(e).max() for o, e in zip(outs, expected, strict=True)]
            if not max(errors) < 1e-4:
                print(f"batch normalization of {x.shape} is off by {max(errors):.1e}")
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
