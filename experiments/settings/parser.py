"""Command-line flags from a settings dataclass: a field is a flag, a nested dataclass a group."""

import argparse
import dataclasses
import math
import shutil
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn, TypeVar

from experiments.program.errors import ConfigError
from experiments.settings.fields import NONE, flag_of, groups_of, rules_of
from jax_resnet._files import expand_user
from jax_resnet._text import did_you_mean

__all__ = ["About", "T", "parse_flags"]

T = TypeVar("T")

# What stands for values that are paths of this machine.
PLACES = ("FOLDER", "FILE", "PATH", "WEIGHTS", "IMAGE", "RUN")


class About(NamedTuple):
    """What ``--help`` says beside the flags.

    Attributes:
        summary: What the program does.
        examples: Commands, shown first.
        notes: Lines after the flags, such as the recipes.
        help: Other help texts, by the name of the field; None for a flag that the program does not have.
    """

    summary: str
    examples: Sequence[str] = ()
    notes: str = ""
    help: Mapping[str, str | None] = {}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} (--help lists the flags)")


def parse_flags(
    kind: type[T],
    prog: str,
    about: str | About,
    args: Sequence[str],
    default: T,
) -> T:
    """Reads flags over default settings.

    Args:
        kind: A dataclass of ``setting`` fields and of such dataclasses.
        prog: How the program is called, such as ``python -m experiments.cifar10``.
        about: What the program does.
        args: The flags.
        default: The settings that flags change.

    Returns:
        The settings.

    Raises:
        ConfigError: An unknown flag or a value of the wrong kind, in one line with the nearest flag.
        SystemExit: ``--help`` was asked for and printed.
    """
    about = about if isinstance(about, About) else About(about)
    parser = _build(kind, prog, about, default)
    try:
        found, unknown = parser.parse_known_intermixed_args(list(args))
    except argparse.ArgumentError as error:
        raise ConfigError(f"{error.argument_name or ''} {error.message}".strip()) from None
    if unknown:
        known = [option for action in parser._actions for option in action.option_strings]
        name = unknown[0].split("=")[0]
        hint = did_you_mean(name, known, 1) if name.startswith("-") else ""
        what = "unknown flag" if name.startswith("-") else "unexpected argument"
        raise ConfigError(f"{what} {name}" + (f"; {hint}" if hint else "") + " (--help lists the flags)")
    return _replace(default, vars(found))


def _replace(settings: T, found: dict[str, Any]) -> T:
    """``settings`` with what was given on the command line, in it or in a dataclass nested in it."""
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(settings):  # type: ignore[arg-type]
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            changes[field.name] = _replace(value, found)
        elif field.name in found:
            given = found[field.name]
            changes[field.name] = _values(field.name, given) if isinstance(given, list) else given
    return dataclasses.replace(settings, **changes)  # type: ignore[type-var]


def _values(name: str, given: list[Any]) -> tuple[Any, ...]:
    """The values of a flag that takes several; None, which was ``NONE``, takes back those of the recipe."""
    if None in given and len(given) > 1:
        raise ConfigError(f"{flag_of(name)} takes {NONE} alone, or values")
    return tuple(value for value in given if value is not None)


def _build(kind: type, prog: str, about: About, default: Any) -> _Parser:
    width = max(60, min(shutil.get_terminal_size().columns, 110))
    parser = _Parser(
        prog=prog,
        usage=f"{prog} [flags]" if not about.examples else "\n  " + "\n  ".join(about.examples),
        description=about.summary,
        epilog=about.notes or None,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        exit_on_error=False,
        formatter_class=lambda prog: _Formatter(prog, width=width, max_help_position=26),
    )
    common = parser.add_argument_group("flags people use most")
    for _, group in groups_of(default):
        hints = typing.get_type_hints(type(group))
        title = (type(group).__doc__ or "").splitlines()[0].rstrip(".").lower()
        section = parser.add_argument_group(title)
        for field in dataclasses.fields(group):
            if (rules := rules_of(field)) is None:
                if dataclasses.is_dataclass(getattr(group, field.name)):
                    continue
                raise TypeError(f"{type(group).__name__}.{field.name} is no setting(...)")
            text = about.help.get(field.name, rules.help)
            if text is None:
                continue
            target = common if rules.common else section
            names = [field.name] if rules.positional else [flag_of(field.name)]
            options = _options(hints[field.name], rules.metavar)
            if field.default == () and not rules.positional:
                options["type"] = _or_none(options["type"])
            shown = _default_text(getattr(group, field.name))
            options["help"] = (text + (f" (default: {shown})" if shown else "")).replace("%", "%%")
            if rules.positional:
                options.pop("dest", None)
                options["nargs"] = "*" if options.get("nargs") else "?"
            target.add_argument(*names, **options)
    return parser


def _default_text(value: Any) -> str:
    """A default as people write it; empty where the help text says what happens without the flag."""
    if value is None or value in ((), ""):
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return " ".join(map(_default_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _options(hint: Any, metavar: str | None) -> dict[str, Any]:
    """The keyword arguments of ``add_argument`` for a field's type."""
    if metavar in PLACES:
        several = {"nargs": "+"} if typing.get_origin(hint) is tuple else {}
        return {"type": _place, "metavar": metavar, **several}
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        (hint,) = (part for part in typing.get_args(hint) if part is not types.NoneType)
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction}
    if typing.get_origin(hint) is tuple:
        item = typing.get_args(hint)[0]
        return {"nargs": "+", "type": _converter(item), "metavar": metavar or _metavar(item)}
    if typing.get_origin(hint) is typing.Literal:
        choices = typing.get_args(hint)
        return {"type": _one_of(choices), "metavar": "{" + ",".join(map(str, choices)) + "}"}
    return {"type": _converter(hint), "metavar": metavar or _metavar(hint)}


def _metavar(kind: Any) -> str:
    return {int: "N", float: "X"}.get(kind, "TEXT")


def _converter(kind: Any) -> Callable[[str], Any]:
    if typing.get_origin(kind) is typing.Literal:
        return _one_of(typing.get_args(kind))
    return {int: _whole_number, float: _number}.get(kind, str)


def _or_none(convert: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda text: None if text == NONE else convert(text)


def _whole_number(text: str) -> int:
    try:
        if not text.isascii() or len(text) > 40:
            raise ValueError
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"takes a whole number, not {text!r}") from None


def _number(text: str) -> float:
    try:
        if not text.isascii():
            raise ValueError
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"takes a number, not {text!r}") from None
    return number if math.isfinite(number) or math.isnan(number) else math.copysign(math.inf, number)


def _place(text: str) -> str:
    """A path with the home folder for ``~``, which a shell leaves as it is in ``--flag=~/folder``."""
    if not text.startswith("~"):
        return text
    try:
        return str(expand_user(text))
    except FileNotFoundError:
        raise argparse.ArgumentTypeError(f"names a home folder that is not known: {text}") from None


def _one_of(choices: Sequence[str]) -> Callable[[str], str]:
    def convert(text: str) -> str:
        if text not in choices:
            hint = did_you_mean(text, choices, 1)
            raise argparse.ArgumentTypeError(
                f"is one of {', '.join(choices)}, not {text!r}" + (f"; {hint}" if hint else "")
            )
        return text

    return convert


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Shows usage as it is written: examples, not the list of all flags."""

    def add_usage(self, usage: Any, actions: Any, groups: Any, prefix: str | None = None) -> None:
        super().add_usage(usage, actions, groups, "usage: ")

    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        if action.nargs in ("+", "*"):
            return f"{self._metavar_formatter(action, default_metavar)(1)[0]} ..."
        return super()._format_args(action, default_metavar)
