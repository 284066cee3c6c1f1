"""Which implementation of convolution is asked for: by argument, by context or by environment."""

import contextlib
import difflib
import os
from collections.abc import Iterator
from typing import Literal, get_args

import jax

Implementation = Literal["auto", "xla", "jax", "onednn"]
ENVIRONMENT_VARIABLE = "JAX_RESNET_CONV"

# A user context is part of the key of every jit cache, so that the choice can never be ignored
# because a function was traced earlier under another one. It is also local to its thread.
_context = jax.make_user_context(default_value=None)


def check_implementation(name: str, where: str) -> Implementation:
    """Returns ``name`` if it is an implementation.

    Raises:
        ValueError: It is not one; the message says ``where`` it came from and what may be meant.
    """
    for known in get_args(Implementation):
        if name == known:
            return known
    known_names = get_args(Implementation)
    close = difflib.get_close_matches(name.lower(), known_names, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"{where} is {name!r}, which is none of {', '.join(known_names)}.{hint}")


@contextlib.contextmanager
def conv_implementation(name: Implementation) -> Iterator[None]:
    """Within this context convolutions use the implementation ``name``.

    ``"auto"`` takes the fastest that works, ``"xla"`` always the operation of XLA itself, ``"jax"``
    plain JAX (on CPU, grouped convolutions as a few dense ones and those with kernels of one pixel as
    matrix products), ``"onednn"`` the native extension where it can be used and otherwise plain JAX.
    All but ``"xla"`` concern CPU only: other platforms always get the operation of XLA.

    What counts is the context in which a function is *traced*. Entering another context makes
    ``jax.jit`` trace anew, so jitted functions never keep a stale choice; the context belongs to
    the thread that entered it.

    Raises:
        ValueError: ``name`` is not an implementation.
    """
    with _context(check_implementation(name, "implementation")):
        yield


def requested_implementation(argument: str | None = None) -> tuple[Implementation, str]:
    """Returns the implementation asked for and who asked: argument, context, environment or default.

    The environment variable ``JAX_RESNET_CONV`` is read whenever a convolution is traced; functions
    that are compiled already do not notice a later change of it.

    Raises:
        ValueError: The argument or the environment variable is not an implementation.
    """
    if argument is not None:
        return check_implementation(argument, "implementation"), "the argument"
    if _context.value is not None:
        return check_implementation(_context.value, "implementation"), "conv_implementation"
    if environment := os.environ.get(ENVIRONMENT_VARIABLE, ""):
        return check_implementation(environment, ENVIRONMENT_VARIABLE), ENVIRONMENT_VARIABLE
    return "auto", "the default"
