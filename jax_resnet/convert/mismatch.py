"""Says in one line how two sets of named arrays differ."""

import difflib
from collections.abc import Collection, Mapping

Shape = tuple[int, ...]

# How many differences of a kind are spelled out.
SHOWN = 3


def describe_mismatch(expected: Mapping[str, Shape], found: Mapping[str, Shape]) -> str:
    """The first few names that are missing, unexpected or of another shape, with shapes and near misses.

    Returns:
        One line; empty where both agree.
    """
    missing = [key for key in expected if key not in found]
    unexpected = [key for key in found if key not in expected]
    reshaped = [key for key in expected if key in found and tuple(found[key]) != tuple(expected[key])]
    parts = [
        *_some([f"{key} is {found[key]}, not {expected[key]}" for key in reshaped], "of another shape"),
        *_some(
            [f"no {key} {expected[key]}{_near(key, unexpected or list(found), found)}" for key in missing],
            "missing",
        ),
        *_some(
            [
                f"unexpected {key} {found[key]}{_near(key, missing or list(expected), expected)}"
                for key in unexpected
            ],
            "unexpected",
        ),
    ]
    return "; ".join(parts)


def _some(lines: list[str], kind: str) -> list[str]:
    more = len(lines) - SHOWN
    return lines if more <= 0 else [*lines[:SHOWN], f"and {more} more {kind}"]


def _near(key: str, names: Collection[str], shapes: Mapping[str, Shape]) -> str:
    near = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
    return f" (nearest: {near[0]} {shapes[near[0]]})" if near else ""
