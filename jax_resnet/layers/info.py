"""What the layers use here, and why."""

from typing import NamedTuple

import jax

from jax_resnet.layers.onednn.library import load
from jax_resnet.layers.selection import Implementation, requested_implementation


class LayersInfo(NamedTuple):
    """Says which convolution is in use.

    Attributes:
        backend: JAX's default platform.
        requested: What was asked for, see ``conv_implementation``.
        requested_by: Argument, context, environment or default.
        in_use: ``"xla"``, ``"jax"`` or ``"onednn"``.
        reason: Why, in one sentence.
    """

    backend: str
    requested: Implementation
    requested_by: str
    in_use: str
    reason: str

    def __str__(self) -> str:
        return f"convolution: {self.in_use} ({self.reason}; {self.requested!r} by {self.requested_by})"


def info() -> LayersInfo:
    """Returns which convolution a program traced now, in this context, would use and why.

    Where that is the native extension and it has not been compiled yet, this compiles it.
    """
    requested, by = requested_implementation()
    backend = jax.default_backend()
    if requested == "xla":
        in_use, reason = "xla", "asked for"
    elif backend != "cpu":
        in_use, reason = "xla", f"its convolution is the best on {backend}"
    elif requested == "jax":
        in_use, reason = "jax", "asked for"
    else:
        extension = load(insist=requested == "onednn")
        in_use = "jax" if extension.library is None else "onednn"
        reason = extension.reason
    return LayersInfo(backend, requested, by, in_use, reason)
