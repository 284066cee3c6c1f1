"""How much memory this process has used."""

import sys

__all__ = ["peak_memory_bytes"]


def peak_memory_bytes() -> int:
    """Returns the largest resident set of this process so far, 0 where the system does not say."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
