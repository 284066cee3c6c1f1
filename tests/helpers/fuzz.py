"""Property tests that go on for a time instead of a number of examples."""

import random
import time
from collections.abc import Callable
from typing import Any

import hypothesis
from hypothesis import strategies as st

__all__ = ["damaged_by", "damages", "go_on"]

Change = tuple[str, float, bytes]

BATCH = 100  # examples between two looks at the clock


def damages() -> st.SearchStrategy[list[Change]]:
    """Changes to a file: bytes replaced, cut out or put in, at places given as fractions of its length."""
    kinds = st.sampled_from(["replace", "replace", "insert", "cut", "truncate"])
    change = st.tuples(kinds, st.floats(0, 1), st.binary(min_size=1, max_size=16))
    return st.lists(change, min_size=1, max_size=4)


def damaged_by(content: bytes, changes: list[Change]) -> bytes:
    """A file's content after ``changes``."""
    for kind, place, new in changes:
        at = int(place * len(content))
        if kind == "replace":
            content = content[:at] + new + content[at + len(new) :]
        elif kind == "insert":
            content = content[:at] + new + content[at:]
        else:
            content = content[:at] + (content[at + len(new) :] if kind == "cut" else b"")
    return content


def go_on(check: Callable[..., Any], seconds: float = 60, **strategies: Any) -> int:
    """Gives ``check`` new examples until the time is over; returns how many.

    What fails is printed by hypothesis with the seed that repeats it.

    Args:
        check: Takes the strategies' names as keywords.
        seconds: When to stop; the batch of examples that has begun is finished.
        strategies: What hypothesis draws from.
    """
    limits = hypothesis.settings(
        max_examples=BATCH,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    examples = 0
    end = time.monotonic() + seconds
    number = random.SystemRandom().getrandbits(32)
    while time.monotonic() < end:
        print(f"seed {number}")

        @hypothesis.seed(number)
        @limits
        @hypothesis.given(**strategies)
        def test(**drawn: Any) -> None:
            check(**drawn)

        test()
        number += 1
        examples += BATCH
    return examples
