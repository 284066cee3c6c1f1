"""Which implementation of the convolution is requested: by argument, context or environment variable."""

import contextlib
import os
from collections.abc import Iterator
from typing import Literal, get_args

import jax

from jax_resnet._text import did_you_mean
from jax_resnet.errors import ModelError

__all__ = [
    "ENVIRONMENT_VARIABLE",
    "Implementation",
    "check_implementation",
    "conv_implementation",
    "requested_implementation",
]

Implementation = Literal["auto", "xla", "jax", "onednn"]
ENVIRONMENT_VARIABLE = "JAX_RESNET_CONV"

# A user context is part of the key of every jit cache: a function traced under another choice is traced
# again, so no choice is ever ignored. It is also local to its thread.
_context = jax.make_user_context(default_value=None)


def check_implementation(name: str, where: str) -> Implementation:
    """Returns ``name`` if it is an implementation.

    Raises:
        ModelError: It is not; the message names ``where`` it came from and the nearest name.
    """
    known_names = get_args(Implementation)
    for known in known_names:
        if name == known:
            return known
    hint = did_you_mean(name, known_names, count=1)
    message = f"{where} is {name!r}, which is none of {', '.join(known_names)}"
    raise ModelError(f"{message}; {hint}" if hint else message)


@contextlib.contextmanager
def conv_implementation(name: Implementation) -> Iterator[None]:
    """Within this context convolutions use the implementation ``name``.

    - ``"auto"``: the fastest that works here.
    - ``"xla"``: XLA's own operation.
    - ``"jax"``: plain JAX. On CPU it computes a grouped convolution as a few dense ones, and one with a
      1x1 kernel as a matrix product.
    - ``"onednn"``: the native extension where it can be used, otherwise plain JAX, with a warning.

    The choice matters on CPU only: other platforms always get XLA's own operation. It takes effect when a
    function is *traced*. Entering another context makes ``jax.jit`` trace again, so jitted functions never
    keep a stale choice. The context belongs to the thread that entered it.

    Raises:
        ModelError: ``name`` is not an implementation.
    """
    with _context(check_implementation(name, "implementation")):
        yield


def requested_implementation(argument: str | None = None) -> tuple[Implementation, str]:
    """Returns the requested implementation, and what requested it.

    The argument comes before the context, the context before the environment variable
    ``JAX_RESNET_CONV``, and that before the default. The variable is read whenever a convolution is
    traced; compiled functions do not notice a later change of it.

    Raises:
        ModelError: The argument or the environment variable is not an implementation.
    """
    if argument is not None:
        return check_implementation(argument, "implementation"), "the argument"
    if _context.value is not None:
        return check_implementation(_context.value, "implementation"), "conv_implementation"
    if environment := os.environ.get(ENVIRONMENT_VARIABLE, ""):
        return check_implementation(environment, ENVIRONMENT_VARIABLE), ENVIRONMENT_VARIABLE
    return "auto", "the default"
