"""Fields of settings: default, help, allowed range and what a resumed run may change, all in one place."""

import dataclasses
import math
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from experiments.program.errors import ConfigError

__all__ = [
    "INT64_MAX",
    "NONE",
    "Rules",
    "check_ranges",
    "flag_of",
    "from_dict",
    "groups_of",
    "is_of_type",
    "rules_of",
    "setting",
    "settings_of",
]

INT64_MAX = 2**63 - 1
MOST_VALUES = 1000  # of a setting with several, in a file
NONE = "none"  # as the value of a flag that takes several: no values, where the recipe has some


class Rules(NamedTuple):
    """What a field's metadata says.

    Attributes:
        help: One line for ``--help``.
        at_least: Smallest allowed number.
        above: Number that must be exceeded.
        at_most: Largest allowed number.
        below: Number that must not be reached.
        may_change: Whether a resumed run may have another value: no state of the training depends on it.
        reported: Whether the reported numbers depend on it although it may change.
        common: Whether ``--help`` lists the flag among those people use most.
        metavar: What stands for the value in ``--help``.
        positional: Whether the value is given without a flag.
    """

    help: str
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    may_change: bool = False
    reported: bool = False
    common: bool = False
    metavar: str | None = None
    positional: bool = False


def setting(default: Any, help: str, **rules: Any) -> Any:
    """A dataclass field with its ``Rules``; keyword arguments are those of ``Rules``."""
    return dataclasses.field(default=default, metadata={"rules": Rules(help, **rules)})


def rules_of(field: dataclasses.Field[Any]) -> Rules | None:
    """The rules of a field made by ``setting``; None for any other."""
    return field.metadata.get("rules")


def flag_of(name: str) -> str:
    """The flag of a field: ``batch_size`` -> ``--batch-size``."""
    return f"--{name.replace('_', '-')}"


def groups_of(settings: Any) -> Iterator[tuple[str | None, Any]]:
    """The dataclass itself under None, then each nested dataclass under the name of its field."""
    yield None, settings
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            yield field.name, value


def settings_of(settings: Any) -> dict[str, Any]:
    """The value of every setting, nested ones too, by name."""
    found: dict[str, Any] = {}
    for _, group in groups_of(settings):
        found |= {
            f.name: getattr(group, f.name) for f in dataclasses.fields(group) if rules_of(f) is not None
        }
    return found


def check_ranges(settings: Any) -> None:
    """Checks every number of a settings dataclass, and of those nested in it, against its field's range.

    Raises:
        ConfigError: A number is out of range, not finite, or does not fit into 64 bits.
    """
    for _, group in groups_of(settings):
        for field in dataclasses.fields(group):
            if (rules := rules_of(field)) is None:
                continue
            value = getattr(group, field.name)
            for number in value if isinstance(value, tuple) else (value,):
                if isinstance(number, int | float) and not isinstance(number, bool):
                    _check_number(flag_of(field.name), number, rules)
                elif isinstance(number, str) and "\0" in number:
                    raise ConfigError(f"{flag_of(field.name)} has a NUL character, which no name can have")


def _check_number(flag: str, number: float, rules: Rules) -> None:
    fits = (
        (rules.above is None or number > rules.above)
        and (rules.at_least is None or number >= rules.at_least)
        and (rules.below is None or number < rules.below)
        and (rules.at_most is None or number <= rules.at_most)
        and (math.isfinite(number) if isinstance(number, float) else abs(number) <= INT64_MAX)
    )
    if not fits:
        raise ConfigError(f"{flag} must be {_range_text(rules)}, not {number}")


def _range_text(rules: Rules) -> str:
    lower = None
    if rules.above is not None:
        lower = f"more than {rules.above:g}"
    elif rules.at_least is not None:
        lower = f"at least {rules.at_least:g}"
    if rules.below is not None:
        return f"{lower} and below {rules.below:g}" if lower else f"below {rules.below:g}"
    if rules.at_most is not None:
        return f"{lower} and at most {rules.at_most:g}" if lower else f"at most {rules.at_most:g}"
    if rules.at_least is not None:
        return f"{rules.at_least:g} or more"
    return lower or "a finite number of at most 64 bits"


def from_dict(kind: type, values: Mapping[str, Any]) -> Any:
    """Rebuilds a settings class from its ``dataclasses.asdict`` that went through JSON.

    Unknown keys are dropped, so that files of other versions can be read; missing ones get their defaults.

    Raises:
        TypeError: A value is not one of its field's, or ``values`` no mapping.
    """
    if not isinstance(values, Mapping):
        raise TypeError(f"{kind.__name__} cannot be {values!r}")
    hints = typing.get_type_hints(kind)
    kept = {}
    for field in dataclasses.fields(kind):
        if field.name not in values:
            continue
        value, hint = values[field.name], hints[field.name]
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            kept[field.name] = from_dict(hint, value)
            continue
        value = list(value) if isinstance(value, tuple) else value
        if not is_of_type(value, hint):
            raise TypeError(f"{field.name} cannot be {value!r}")
        kept[field.name] = tuple(value) if isinstance(value, list) else value
    return kind(**kept)


def is_of_type(value: Any, hint: Any, *, any_text: bool = False) -> bool:
    """Whether a value from JSON is of a field's type.

    Args:
        value: The value.
        hint: The type.
        any_text: Whether any text will do where only some are allowed: another version may know others.
    """
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(is_of_type(value, option, any_text=any_text) for option in options)
    if origin is tuple:
        return (
            isinstance(value, list)
            and len(value) <= MOST_VALUES
            and all(is_of_type(item, options[0], any_text=any_text) for item in value)
        )
    if origin is typing.Literal:
        return isinstance(value, type(options[0])) and (any_text or value in options)
    if hint is bool or hint is str or hint is types.NoneType:
        return isinstance(value, hint)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return abs(value) < 2**63 if isinstance(value, int) else math.isfinite(value)
    return False
