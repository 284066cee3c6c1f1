"""What a check says: findings, and the checks that make them."""

import dataclasses
from typing import Any, Literal

__all__ = ["Check", "Finding", "note", "ok", "problem"]

Status = Literal["ok", "note", "problem"]


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the answer.

    Attributes:
        label: What it is about, one or two words.
        text: What was found.
        status: "note" is worth knowing, "problem" makes the doctor exit with 1.
        advice: What to do about it.
        values: Numbers for programs, as JSON can hold them.
    """

    label: str
    text: str
    status: Status = "ok"
    advice: str = ""
    values: dict[str, Any] = dataclasses.field(default_factory=dict)


def ok(label: str, text: str, **values: Any) -> Finding:
    """A fact, or something that works."""
    return Finding(label, text, values=values)


def note(label: str, text: str, advice: str = "", **values: Any) -> Finding:
    """Something worth knowing that is no fault."""
    return Finding(label, text, "note", advice, values)


def problem(label: str, text: str, advice: str, **values: Any) -> Finding:
    """Something that does not work, and what to do about it."""
    return Finding(label, text, "problem", advice, values)


@dataclasses.dataclass(frozen=True)
class Check:
    """A function from the settings to findings.

    Attributes:
        name: The label of what goes wrong with the check itself.
        function: ``MODULE:FUNCTION``; the module is imported in the process that runs the check, so that
            one which cannot be imported is a finding too.
        seconds: The longest time to a finding; a check that takes longer is ended.
        alone: Whether it needs a process without jax, as one that shares the device with others does.
    """

    name: str
    function: str
    seconds: float = 60.0
    alone: bool = False
