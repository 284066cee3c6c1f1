"""Fields of settings: default, help, allowed range and what a resumed run may change, all in one place."""

import dataclasses
import math
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
    "rules_of",
    "setting",
]

INT64_MAX = 2**63 - 1
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
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}
    kept = {}
    for name, value in values.items():
        if name not in fields:
            continue
        nested = fields[name].type
        if isinstance(nested, type) and dataclasses.is_dataclass(nested):
            value = from_dict(nested, value)
        kept[name] = tuple(value) if isinstance(value, list) else value
    return kind(**kept)
