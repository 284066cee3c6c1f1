"""Loads the extension once per process, and says why where it cannot."""

import ctypes
import functools
import logging
import os
import threading
from typing import NamedTuple

import jax
import numpy as np

from jax_resnet._text import first_line
from jax_resnet.layers.onednn.build import UnavailableError, build

__all__ = ["CONV", "CONV_BIAS", "Extension", "load", "thread_count"]

CONV = "jax_resnet_onednn_conv"
CONV_BIAS = "jax_resnet_onednn_conv_bias"
NORM_FORWARD, NORM_BACKWARD = "jax_resnet_norm_forward", "jax_resnet_norm_backward"
_HANDLERS = {
    CONV: "JaxResnetConv",
    CONV_BIAS: "JaxResnetConvBias",
    NORM_FORWARD: "JaxResnetNormForward",
    NORM_BACKWARD: "JaxResnetNormBackward",
}
# With more threads than this, one thread makes all calls of OpenMP; see ``Caller`` in runtime.h.
_MAX_THREADS_PER_CALLER = 16
_lock = threading.Lock()
_log = logging.getLogger("jax_resnet")


class Extension(NamedTuple):
    """The loaded extension, or the reason why there is none.

    Attributes:
        library: None where the extension is not available.
        reason: One line.
    """

    library: ctypes.CDLL | None
    reason: str

    def is_supported(self, problem: np.ndarray) -> bool:
        """Returns whether oneDNN has a fast kernel for a problem made by ``pack_problem``."""
        if self.library is None:
            return False
        return bool(self.library.jax_resnet_is_supported(ctypes.c_void_p(problem.ctypes.data)))


def thread_count() -> int:
    """Returns how many threads to use: the number of processors that this process may run on.

    ``NPROC``, which sets the size of XLA's own pool, and ``OMP_NUM_THREADS`` can lower it.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # macOS and Windows have none.
    counts = [len(affinity(0)) if affinity else os.cpu_count() or 1]
    for name in ("NPROC", "OMP_NUM_THREADS"):
        first = os.environ.get(name, "").split(",")[0].strip()
        if first.isdecimal() and int(first) > 0:
            counts.append(int(first))
    return min(counts)


@functools.cache
def _load_once() -> Extension:
    try:
        path, onednn = build()
        # oneDNN first: then the extension finds it loaded.
        ctypes.CDLL(str(onednn.library))
        library = ctypes.CDLL(str(path))
        threads = thread_count()
        library.jax_resnet_configure(threads, int(threads > _MAX_THREADS_PER_CALLER))
        for target, handler in _HANDLERS.items():
            capsule = jax.ffi.pycapsule(getattr(library, handler))
            jax.ffi.register_ffi_target(target, capsule, platform="cpu")
    except UnavailableError as error:
        return Extension(None, str(error))
    except Exception as error:  # Whatever it is, plain JAX works.
        return Extension(None, f"loading it failed: {first_line(error)}")
    return Extension(library, f"oneDNN {onednn.version} with {threads} thread{'s' * (threads > 1)}")


@functools.cache
def _log_once(level: int, reason: str) -> None:
    _log.log(level, "convolutions on CPU in plain JAX, without oneDNN: %s", reason)


def load(warn: bool = False) -> Extension:
    """Returns the extension; the first call compiles it if no earlier process has (several seconds).

    Where there is none, it logs the reason once: as a warning if ``warn``, else as information.
    """
    with _lock:
        extension = _load_once()
        if extension.library is None:
            _log_once(logging.WARNING if warn else logging.INFO, extension.reason)
        return extension
