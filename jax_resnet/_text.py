"""Text that several modules write alike: hints for misspelled names, one-line errors."""

import difflib
import re
from collections.abc import Iterable

__all__ = ["did_you_mean", "first_line", "host_and_port", "natural"]


def did_you_mean(name: str, known: Iterable[str], count: int = 2) -> str:
    """Names the nearest known names: ``"did you mean resnet20 or resnet26?"``; empty where none is near."""
    near = difflib.get_close_matches(name.lower(), list(known), n=count)
    return f"did you mean {' or '.join(near)}?" if near else ""


def first_line(error: BaseException, limit: int = 300) -> str:
    """The first line of an error's message, or its class where the message is empty."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:limit]


def host_and_port(address: str) -> tuple[str, int]:
    """The parts of ``HOST:PORT``; the host of an IPv6 address without its brackets.

    Raises:
        ValueError: It is not of that form, or the port is not from 1 to 65535.
    """
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdecimal() and len(port) < 6 and 0 < int(port) < 65536):
        raise ValueError(f"{address} is not HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


def natural(name: str) -> str:
    """A key that sorts resnet20 before resnet110."""
    return re.sub(r"\d+", lambda digits: digits[0].zfill(9), name)
