"""What a value from a file must be, for tables of checks."""

from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["Check"]


class Check(NamedTuple):
    """A kind of value.

    Attributes:
        accepts: Whether a value is of the kind.
        description: The kind in words, for "not ...".
    """

    accepts: Callable[[Any], bool]
    description: str
