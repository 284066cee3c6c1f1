"""Waiting for processes and looking whether they live, on Linux."""

import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["alive", "wait_until"]


def alive(pid: int | str) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> bool:
    """Waits until a condition holds, no longer than some seconds; returns whether it does."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()
