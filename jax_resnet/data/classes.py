"""Matches the classes of data with the classes of weights, by name: never by position."""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from jax_resnet._text import did_you_mean
from jax_resnet.errors import DataError

__all__ = ["ClassNamesError", "match_classes", "parse_class_map"]

IMAGENET_CLASSES = 1000
WORDNET_ID = re.compile(r"n\d{8}")
NAMED = 5


class ClassNamesError(DataError):
    """Classes of data that cannot be matched with the weights' classes.

    Attributes:
        unmatched: The names of the data's classes without a counterpart.
    """

    def __init__(self, message: str, unmatched: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.unmatched = tuple(unmatched)


def match_classes(
    weights: Sequence[str] | int, data: Sequence[str], class_map: Mapping[str, str | int] | None = None
) -> np.ndarray:
    """Finds the output of the network that stands for each class of the data.

    Names must be equal, up to Unicode's normalization (NFC): "1" and "01", or "Cat" and "cat", are different
    classes. The data may lack classes of the weights, and may have them in another order.

    >>> match_classes(["cat", "dog", "emu"], ["emu", "cat"]).tolist()
    [2, 0]
    >>> match_classes(["cat", "dog"], ["chien", "cat"], {"chien": "dog"}).tolist()
    [1, 0]

    Weights without names, such as imported ones, have their number of outputs alone. Two kinds of data say
    which output is meant, and are matched with them: classes that are numbers ("0" or "000" is output 0),
    and ImageNet's 1000 wordnet ids (``n01440764``, ...), whose sorted order is that of the outputs in all
    published ImageNet weights. Others need a ``class_map``.

    Args:
        weights: The name of each output, or, where they are not known, the number of outputs.
        data: The name of each label.
        class_map: From names of the data's classes to names of the weights' classes, or to the number of the
            output, for those that are called otherwise.

    Returns:
        int64, ``(len(data),)``: ``result[label]`` is the output of the data's class ``label``.

    Raises:
        ClassNamesError: A class of the data has no counterpart, or two have the same; the message names
            near misses and the entries of ``class_map`` that would be needed.
    """
    outputs = weights if isinstance(weights, int) else len(weights)
    names = None if isinstance(weights, int) else [_normal(name) for name in weights]
    if names is not None and not class_map and names == [_normal(name) for name in data]:
        return np.arange(outputs)  # ImageNet has two classes called "crane", which are not to be confused
    numbers = _known_outputs(names, outputs, data)
    for mapped, target in (class_map or {}).items():
        if _normal(mapped) not in map(_normal, data):
            raise ClassNamesError(
                f"the class map names {mapped}, which is no class of the data{_hint(mapped, data)}", [mapped]
            )
        numbers[_normal(mapped)] = _output(mapped, target, names, outputs)
    unmatched = [name for name in data if _normal(name) not in numbers]
    if unmatched:
        raise ClassNamesError(_describe(unmatched, weights, len(data)), unmatched)
    found = np.array([numbers[_normal(name)] for name in data], np.int64)
    _check_distinct(found, data, weights)
    return found


def parse_class_map(entries: Sequence[str]) -> dict[str, str]:
    """Reads ``["01=1", "02=2"]``: the data's class, "=", the weights' class (or the number of the output).

    Raises:
        ClassNamesError: An entry is of another form, or a class is mapped twice.
    """
    found: dict[str, str] = {}
    for entry in entries:
        name, sign, target = entry.partition("=")
        if not (sign and name and target):
            raise ClassNamesError(f"{entry!r} maps no class: DATA=WEIGHTS is needed, such as 01=1")
        if name in found:
            raise ClassNamesError(f"{name} is mapped twice, to {found[name]} and to {target}", [name])
        found[name] = target
    return found


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _known_outputs(names: list[str] | None, outputs: int, data: Sequence[str]) -> dict[str, int]:
    """The outputs of the names that are clear without a class map."""
    if names is not None:
        counts = Counter(names)
        return {name: number for number, name in enumerate(names) if counts[name] == 1}
    if all(re.fullmatch(r"[0-9]+", name) and int(name) < outputs for name in data):
        return {name: int(name) for name in data}
    if len(data) == outputs == IMAGENET_CLASSES and all(map(WORDNET_ID.fullmatch, data)):
        return {name: number for number, name in enumerate(sorted(data))}
    return {}


def _output(mapped: str, target: str | int, names: list[str] | None, outputs: int) -> int:
    if names is not None and isinstance(target, str):
        if names.count(_normal(target)) == 1:
            return names.index(_normal(target))
        how = "of several outputs" if _normal(target) in names else "of no output"
        raise ClassNamesError(
            f"the class map takes {mapped} to {target}, the name {how}{_hint(target, names)}", [mapped]
        )
    if str(target).isdecimal() and int(target) < outputs:
        return int(target)
    raise ClassNamesError(
        f"the class map takes {mapped} to {target}: a number from 0 to {outputs - 1} is needed", [mapped]
    )


def _describe(unmatched: Sequence[str], weights: Sequence[str] | int, count: int) -> str:
    some = f"{len(unmatched)} of the data's {count} classes"
    if isinstance(weights, int):
        return (
            f"the weights do not name their {weights} classes, and {some} do not say which output they are "
            f"({_some(unmatched)}): give a class map, such as {unmatched[0]}=0"
        )
    near = [f"{name}{_hint(name, weights)}" for name in unmatched[:NAMED]]
    more = f", and {len(unmatched) - NAMED} more" if len(unmatched) > NAMED else ""
    target = _nearest(unmatched[0], weights) or weights[0]
    return (
        f"{some} are not among the weights' {len(weights)}: {', '.join(near)}{more} (the weights' are "
        f"{_some(weights)}): rename the data's, or give a class map, such as {unmatched[0]}={target}"
    )


def _check_distinct(found: np.ndarray, data: Sequence[str], weights: Sequence[str] | int) -> None:
    first: dict[int, str] = {}
    for output, name in zip(found.tolist(), data, strict=True):
        if output in first:
            called = output if isinstance(weights, int) else weights[output]
            raise ClassNamesError(f"{first[output]} and {name} both are the weights' class {called}", [name])
        first[output] = name


def _nearest(name: str, known: Sequence[str]) -> str | None:
    """The one known name that differs in case, spaces, or leading zeros alone."""

    def plain(text: str) -> str:
        return re.sub(r"[\s_-]+", " ", _normal(text).casefold()).lstrip("0") or "0"

    same = [other for other in known if plain(other) == plain(name)]
    return same[0] if len(same) == 1 else None


def _hint(name: str, known: Sequence[str]) -> str:
    nearest = _nearest(name, known)
    hint = f"did you mean {nearest}?" if nearest else did_you_mean(name, known)
    return f" ({hint})" if hint else ""


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
