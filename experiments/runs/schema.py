"""Checks values from JSON files: a dataclass annotates its fields with checks, and what fails is left out."""

import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from jax_resnet._checks import Check

__all__ = [
    "AMOUNT",
    "COUNT",
    "FRACTION",
    "NUMBER",
    "TEXT",
    "TEXTS",
    "TEXT_MAP",
    "Check",
    "read_checked",
]

T = TypeVar("T")
# Far beyond any real value, and sums of squares of numbers within it stay finite.
LARGEST = 1e30
LARGEST_COUNT = 2**53
MOST_ITEMS = 100_000


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return (_is_int(value) or isinstance(value, float)) and abs(value) <= LARGEST  # neither NaN nor infinite


def _is_texts(values: Any) -> bool:
    return isinstance(values, list) and len(values) <= MOST_ITEMS and all(isinstance(v, str) for v in values)


def _is_text_map(values: Any) -> bool:
    return isinstance(values, dict) and len(values) <= 1000 and _is_texts(list(values.values()))


NUMBER = Check(_is_number, "a finite number")
AMOUNT = Check(lambda value: _is_number(value) and value >= 0, "a number of at least 0")
FRACTION = Check(lambda value: _is_number(value) and 0 <= value <= 1, "a number from 0 to 1")
COUNT = Check(lambda value: _is_int(value) and 0 <= value <= LARGEST_COUNT, "a whole number of at least 0")
TEXT = Check(lambda value: isinstance(value, str), "text")
TEXTS = Check(_is_texts, "a list of texts")
TEXT_MAP = Check(_is_text_map, "an object of texts")


def read_checked(kind: type[T], content: Mapping[str, Any], source: str) -> tuple[T, list[str]]:
    """Builds a dataclass from a JSON object; keys that are none of its fields are ignored.

    Args:
        kind: The dataclass; each field is ``Annotated`` with its ``Check`` and has a default.
        content: The object.
        source: The file's name, for the notes.

    Returns:
        The instance, and a note on the values that were left out, if any.
    """
    kept, wrong = {}, []
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        check: Check = hint.__metadata__[0]
        value = content.get(name)
        if value is None:
            continue
        if check.accepts(value):
            kept[name] = value
        else:
            wrong.append(f"{name} is not {check.description}")
    notes = [f"left out of {source}: {'; '.join(wrong)}"] if wrong else []
    return kind(**kept), notes
