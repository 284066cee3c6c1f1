"""Memory for the convolutions' extension."""

import contextlib

from jax_resnet._malloc import keep_freed_memory
from jax_resnet.layers.onednn.build import UnavailableError, find_onednn

__all__ = ["keep_memory_for_extension"]


def keep_memory_for_extension() -> None:
    """Makes ``malloc`` keep freed memory where oneDNN is installed.

    Importing the layers calls it. A user who has installed the extra ``cpu`` wants fast convolutions, which
    need it; for all others ``malloc`` stays as it is.
    """
    with contextlib.suppress(UnavailableError):
        find_onednn()
        keep_freed_memory()
