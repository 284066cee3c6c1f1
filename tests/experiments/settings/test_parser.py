"""Flags from dataclasses: every kind of field, ranges, near misses, help."""

import dataclasses
from typing import Literal

import pytest

from experiments.program.errors import ConfigError
from experiments.settings.fields import check_ranges, from_dict, setting
from experiments.settings.parser import About, parse_flags


@dataclasses.dataclass(frozen=True)
class Inner:
    """Inner settings."""

    count: int = setting(3, "How many.", above=0)
    names: tuple[str, ...] = setting((), "Names.")
    fraction: float = setting(0.5, "A fraction.", at_least=0, below=1)


@dataclasses.dataclass(frozen=True)
class Outer:
    """Outer settings."""

    path: str = setting("", "A path.", positional=True, metavar="PATH")
    rest: tuple[str, ...] = setting((), "More paths.", positional=True, metavar="PATH")
    kind: Literal["red", "green"] = setting("red", "A color.", common=True)
    flag: bool = setting(False, "A switch.")
    maybe: int | None = setting(None, "A number or none.", metavar="N")
    inner: Inner = dataclasses.field(default_factory=Inner)


def parse(*args, default=None):
    return parse_flags(Outer, "program", About("Does things."), args, default or Outer())


def test_every_kind_of_field_is_read():
    flags = ("--kind", "green", "b", "--flag", "--maybe=4", "--names", "x", "y", "--fraction", "0.25", "c")
    inner = Inner(3, ("x", "y"), 0.25)
    assert parse("a", *flags) == Outer("a", ("b", "c"), "green", True, 4, inner)
    assert parse() == Outer()
    assert parse("--no-flag", default=Outer(flag=True)) == Outer()


def test_flags_change_defaults_and_nothing_else():
    default = Outer(kind="green", inner=Inner(count=7))
    assert parse("--fraction", "0", default=default) == Outer(kind="green", inner=Inner(7, (), 0.0))


def test_none_takes_back_the_values_of_a_recipe():
    recipe = Outer(inner=Inner(names=("x", "y")))
    assert parse("--names", "none", default=recipe) == Outer()
    with pytest.raises(ConfigError, match="--names takes none alone, or values"):
        parse("--names", "none", "z")
    assert parse("none", "none").rest == ("none",)  # paths


def test_the_last_of_a_flag_given_twice_counts():
    assert parse("--kind", "red", "--kind", "green").kind == "green"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--kinf", "red"], "unknown flag --kinf; did you mean --kind?"),
        (["--kind", "gren"], "--kind is one of red, green, not 'gren'; did you mean green?"),
        (["--count", "two"], "--count takes a whole number, not 'two'"),
        (["--count", "1.0"], "--count takes a whole number, not '1.0'"),
        (["--count", "٣"], "--count takes a whole number, not '٣'"),
        (["--count", "9" * 50], "--count takes a whole number"),
        (["--fraction", "half"], "--fraction takes a number, not 'half'"),
        (["--count"], "--count expected one argument"),
        (["--flag=yes"], "--flag"),
    ],
)
def test_what_cannot_be_read_is_one_line_that_names_the_flag(args, message):
    with pytest.raises(ConfigError) as failure:
        parse(*args)
    assert message in str(failure.value)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        (Inner(count=0), "--count must be more than 0, not 0"),
        (Inner(count=2**63), "--count must be more than 0, not 9223372036854775808"),
        (Inner(fraction=1.0), "--fraction must be at least 0 and below 1, not 1.0"),
        (Inner(fraction=float("nan")), "--fraction must be at least 0 and below 1, not nan"),
        (Inner(fraction=float("inf")), "not inf"),
        (Inner(names=("a\0b",)), "--names has a NUL character"),
    ],
)
def test_ranges_are_checked_in_nested_settings_too(inner, message):
    check_ranges(Outer())
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        check_ranges(Outer(inner=inner))


def test_help_shows_examples_and_common_flags_first_and_no_empty_defaults(capsys):
    with pytest.raises(SystemExit) as stop:
        parse_flags(
            Outer, "program", About("Does things.", ["program a --flag"], "notes"), ["--help"], Outer()
        )
    assert stop.value.code == 0
    said = capsys.readouterr().out
    assert said.index("program a --flag") < said.index("--kind") < said.index("--count") < said.index("notes")
    assert "(default: )" not in said
    assert "None" not in said
    assert "inner settings:" in said


def test_settings_survive_json_and_other_versions():
    written = dataclasses.asdict(Outer(inner=Inner(names=("a", "b"))))
    written["inner"]["names"] = list(written["inner"]["names"])
    assert from_dict(Outer, {**written, "gone": 1}) == Outer(inner=Inner(names=("a", "b")))
    assert from_dict(Outer, {"kind": "green"}) == Outer(kind="green")


def test_a_field_without_rules_is_a_defect():
    @dataclasses.dataclass(frozen=True)
    class Bare:
        """Bare."""

        value: int = 3

    with pytest.raises(TypeError, match=r"Bare\.value is no setting"):
        parse_flags(Bare, "program", "Does things.", [], Bare())


def test_paths_may_begin_with_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    found = parse("~/a", "~/b", "c~")
    assert (found.path, found.rest) == ("/home/me/a", ("/home/me/b", "c~"))


def test_a_program_may_leave_out_flags_and_say_more_about_others(capsys):
    about = About("Does things.", help={"flag": None, "maybe": "Maybe a number."})
    with pytest.raises(ConfigError, match="unknown flag --flag"):
        parse_flags(Outer, "program", about, ["--flag"], Outer())
    with pytest.raises(SystemExit):
        parse_flags(Outer, "program", about, ["--help"], Outer())
    said = capsys.readouterr().out
    assert "Maybe a number." in said
    assert "--flag" not in said


@pytest.mark.parametrize(
    ("name", "value"),
    [("kind", "blue"), ("flag", 1), ("maybe", "4"), ("maybe", 4.0), ("rest", ["a", 1]), ("path", None)],
)
def test_values_of_another_kind_are_refused_when_settings_are_rebuilt(name, value):
    with pytest.raises(TypeError, match=f"{name} cannot be"):
        from_dict(Outer, {name: value})
