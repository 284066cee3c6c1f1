"""Which convolution is in use, and why, and what makes it fast."""

from typing import NamedTuple

import jax

from jax_resnet._malloc import malloc_state
from jax_resnet.layers import interpreters
from jax_resnet.layers.onednn.library import load
from jax_resnet.layers.selection import Implementation, requested_implementation

__all__ = ["LayersInfo", "info"]


class LayersInfo(NamedTuple):
    """The convolution in use; ``str`` makes one line of it.

    Attributes:
        backend: JAX's default platform, such as ``"cpu"``.
        requested: The requested implementation, see ``conv_implementation``.
        requested_by: What requested it: ``"the argument"``, ``"conv_implementation"``,
            ``"JAX_RESNET_CONV"`` or ``"the default"``.
        in_use: ``"xla"``, ``"jax"`` or ``"onednn"``.
        reason: One sentence.
        memory: What was done to ``malloc``, or why nothing was.
    """

    backend: str
    requested: Implementation
    requested_by: str
    in_use: str
    reason: str
    memory: str

    def __str__(self) -> str:
        convolution = f"{self.in_use} ({self.reason}; {self.requested!r} by {self.requested_by})"
        return f"convolution: {convolution}; {self.memory}"


def info() -> LayersInfo:
    """Returns which convolution a function traced now, in this context, would use, and why.

    Compiles the native extension if that is the one and no earlier process has compiled it.

    Raises:
        ModelError: ``JAX_RESNET_CONV`` is not an implementation.
    """
    requested, by = requested_implementation()
    backend = jax.default_backend()
    if requested == "xla":
        in_use, reason = "xla", "as requested"
    elif backend != "cpu":
        in_use, reason = "xla", f"its convolution is the best on {backend}"
    elif interpreters.PROBLEM is not None:
        in_use, reason = "xla", interpreters.PROBLEM
    elif requested == "jax":
        in_use, reason = "jax", "as requested"
    else:
        extension = load(warn=requested == "onednn")
        in_use = "jax" if extension.library is None else "onednn"
        reason = extension.reason
    return LayersInfo(backend, requested, by, in_use, reason, malloc_state())
