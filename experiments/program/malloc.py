"""Keeps the memory of XLA's temporaries between steps on CPU.

XLA allocates the temporaries of every execution anew. By default glibc maps blocks of that size
afresh and returns them at once, so that each training step pays a page fault for each 4 KiB that it
touches: 15 to 20% of the time of a ResNet on CPU. A few settings of ``malloc`` make it keep them.
"""

import ctypes
import os
import platform
import sys

__all__ = ["ENVIRONMENT_VARIABLE", "keep_freed_memory", "malloc_state", "peak_memory_bytes"]

ENVIRONMENT_VARIABLE = "JAX_RESNET_MALLOC"

# From malloc.h of glibc.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8
_TOP_PAD_BYTES = 64 * 2**20
_NEVER = 2**31 - 1
_state = "malloc left as it is: not asked for"


def keep_freed_memory() -> str:
    """Makes ``malloc`` reuse freed memory instead of returning it to the operating system.

    It changes the whole process, so programs call it, not libraries: first of all, before jax is imported.
    The price is that the process keeps its peak of memory. It does nothing where the C library is not glibc,
    where jax is imported already (its threads then have arenas of their own), or with
    ``JAX_RESNET_MALLOC=0`` in the environment. It never fails.

    Returns:
        One line for the log: what was done, or why nothing was. ``malloc_state`` returns it later.
    """
    global _state
    _state = _keep_freed_memory()
    return _state


def malloc_state() -> str:
    """Returns what the last ``keep_freed_memory`` of this process returned, or that there was none."""
    return _state


def _keep_freed_memory() -> str:
    if os.environ.get(ENVIRONMENT_VARIABLE, "1") == "0":
        return f"malloc left as it is: {ENVIRONMENT_VARIABLE}=0"
    if platform.libc_ver()[0] != "glibc":
        return f"malloc left as it is: no glibc on {sys.platform}"
    if "jax" in sys.modules:
        return "malloc left as it is: jax was imported before"
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError) as error:
        return f"malloc left as it is: {error}"
    settings = (
        # Blocks from the heap only: those mapped on their own are unmapped when freed.
        (_M_MMAP_MAX, 0),
        # The heap does not shrink, and grows in large steps.
        (_M_TRIM_THRESHOLD, _NEVER),
        (_M_TOP_PAD, _TOP_PAD_BYTES),
        # One heap for all threads: what one frees another can take.
        (_M_ARENA_MAX, 1),
    )
    refused = [parameter for parameter, value in settings if mallopt(parameter, value) != 1]
    if refused:
        return f"malloc refused the settings {refused}"
    return f"malloc keeps freed memory ({ENVIRONMENT_VARIABLE}=0 to opt out)"


def peak_memory_bytes() -> int:
    """Returns the largest resident set of this process so far, 0 where the system does not say."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
