"""Keeps the memory of XLA's temporaries between steps on CPU.

XLA allocates the temporaries of every execution anew. By default glibc maps blocks of that size
afresh and returns them at once, so that each training step pays a page fault for each 4 KiB that it
touches: up to a third of the time of a ResNet on CPU. A few settings of ``malloc`` make it keep them.
"""

import contextlib
import ctypes
import os
import platform
import sys

__all__ = ["ENVIRONMENT_VARIABLE", "keep_freed_memory", "malloc_state"]

ENVIRONMENT_VARIABLE = "JAX_RESNET_MALLOC"

# From malloc.h of glibc.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8
_TOP_PAD_BYTES = 64 * 2**20
_NEVER = 2**31 - 1
_LEFT = "malloc left as it is"
_state = f"{_LEFT}: not asked for"


def keep_freed_memory() -> str:
    """Makes ``malloc`` reuse freed memory instead of returning it to the operating system.

    It applies to the whole process, which then keeps its peak of memory. It has no effect on
    threads that have allocated already, so it must come before JAX starts its own, which it does with the
    first computation. It does nothing where the C library is not glibc, where JAX's threads run, or with
    ``JAX_RESNET_MALLOC=0`` in the environment. It never fails.

    Returns:
        One line for the log: what was done, or why nothing was. ``malloc_state`` returns it later.
    """
    global _state
    if _state.startswith(_LEFT):
        _state = _keep_freed_memory()
    return _state


def malloc_state() -> str:
    """Returns what the last ``keep_freed_memory`` of this process returned, or that there was none."""
    return _state


def _keep_freed_memory() -> str:
    if os.environ.get(ENVIRONMENT_VARIABLE, "1") == "0":
        return f"{_LEFT}: {ENVIRONMENT_VARIABLE}=0"
    if platform.libc_ver()[0] != "glibc":
        return f"{_LEFT}: no glibc on {sys.platform}"
    if _has_threads_of_jax():
        return f"{_LEFT}: JAX has computed before (import jax_resnet.layers first)"
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError) as error:
        return f"{_LEFT}: {error}"
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
        return f"{_LEFT}: it refused the settings {refused}"
    return f"malloc keeps freed memory ({ENVIRONMENT_VARIABLE}=0 to opt out)"


def _has_threads_of_jax() -> bool:
    """Whether XLA's pool of threads runs; their heaps are their own."""
    if "jax" not in sys.modules:
        return False
    with contextlib.suppress(OSError):
        for thread in os.listdir("/proc/self/task"):
            with contextlib.suppress(OSError), open(f"/proc/self/task/{thread}/comm") as file:
                if "XLA" in file.read():
                    return True
    return False
