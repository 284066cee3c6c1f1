"""What the values of a card must be."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from jax_resnet._checks import Check

__all__ = ["CHECKS", "NAME"]

# Names of pretrained networks, which are names of files too: "resnet20.cifar10".
NAME = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)+", re.ASCII)

LONGEST_TEXT = 10_000
MOST_CLASSES = 100_000
LARGEST_SIDE = 4096


def _is_int(value: Any, least: int = 0, most: int = 2**53) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_number(value: Any) -> bool:
    return (isinstance(value, float) and math.isfinite(value)) or _is_int(value, -(2**53))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= LONGEST_TEXT and value.isprintable()


def _is_list(values: Any, accepts: Callable[[Any], bool], most: int) -> bool:
    return isinstance(values, list) and 0 < len(values) <= most and all(map(accepts, values))


def _is_option(value: Any) -> bool:
    plain = value is None or isinstance(value, bool) or _is_number(value) or _is_text(value)
    return plain or _is_list(value, lambda item: _is_number(item) or _is_text(item), 1000)


def _is_options(values: Any) -> bool:
    return isinstance(values, Mapping) and len(values) < 100 and all(map(_is_option, values.values()))


def _is_texts_by_name(values: Any) -> bool:
    return isinstance(values, Mapping) and len(values) < 100 and all(map(_is_text, values.values()))


_TEXT = Check(_is_text, "one line of text")
_COUNT = Check(_is_int, "a whole number of at least 0")
_POSITIVE = Check(lambda value: _is_int(value, 1), "a whole number of at least 1")
_FRACTION = Check(lambda value: _is_number(value) and 0 <= value <= 1, "a number from 0 to 1")
_FRACTION_OR_NONE = Check(
    lambda value: value is None or _FRACTION.accepts(value), "a number from 0 to 1, or null"
)
_AMOUNT = Check(lambda value: _is_number(value) and value >= 0, "a finite number of at least 0")

# By field of ``Card``, in its order.
CHECKS: Mapping[str, Check] = {
    "name": Check(lambda v: isinstance(v, str) and NAME.fullmatch(v) is not None, "such as resnet20.cifar10"),
    "arch": _TEXT,
    "options": Check(_is_options, "an object of numbers, texts and lists of them"),
    "parameters": _POSITIVE,
    "dataset": _TEXT,
    "image_shape": Check(
        lambda v: _is_list(v, lambda size: _is_int(size, 1, LARGEST_SIDE), 3) and len(v) == 3,
        "height, width and channels",
    ),
    "mean": Check(lambda v: _is_list(v, _is_number, LARGEST_SIDE), "a list of finite numbers"),
    "std": Check(
        lambda v: _is_list(v, lambda value: _is_number(value) and value > 0, LARGEST_SIDE),
        "a list of finite numbers above 0",
    ),
    "class_names": Check(
        lambda v: _is_list(v, _is_text, MOST_CLASSES) and len(set(v)) == len(v), "a list of different texts"
    ),
    "test_accuracy": _FRACTION,
    "test_images": _POSITIVE,
    "run_test_accuracy": _FRACTION,
    "val_accuracy": _FRACTION_OR_NONE,
    "protocol": _TEXT,
    "command": _TEXT,
    "commit": _TEXT,
    "seed": _COUNT,
    "epochs": _AMOUNT,
    "step": _COUNT,
    "seconds": _AMOUNT,
    "machine": _TEXT,
    "versions": Check(_is_texts_by_name, "an object of texts"),
    "weights_license": _TEXT,
    "data_license": _TEXT,
    "sha256": Check(
        lambda v: isinstance(v, str) and re.fullmatch("[0-9a-f]{64}", v) is not None,
        "64 hexadecimal digits in lower case",
    ),
}
