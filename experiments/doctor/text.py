"""The answer as text that a reporter of a bug pastes, and as JSON."""

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.doctor.finding import Finding

__all__ = ["as_json", "finding_lines", "verdict"]

MARKS = {"ok": " ", "note": "-", "problem": "!"}
LABEL_WIDTH = 12
LONGEST = 600


def finding_lines(finding: Finding) -> list[str]:
    """A finding in one line, and one more for its advice."""
    lines = [f"{MARKS[finding.status]} {finding.label:<{LABEL_WIDTH}} {clean(finding.text)}"]
    if finding.advice:
        lines.append(f"  {'':<{LABEL_WIDTH}} -> {clean(finding.advice)}")
    return lines


def verdict(findings: Sequence[Finding], seconds: float) -> str:
    """The last line."""
    count = sum(finding.status == "problem" for finding in findings)
    if not count:
        return f"healthy: no problem found ({seconds:.0f} s)"
    lines = "the line marked ! says" if count == 1 else "the lines marked ! say"
    return (
        f"{count} problem{'s' * (count > 1)} found: {lines} what, and below it what to do ({seconds:.0f} s)"
    )


def as_json(findings: Sequence[Finding], seconds: dict[str, float]) -> str:
    """All findings as JSON; ``seconds`` is what each check took."""
    healthy = not any(finding.status == "problem" for finding in findings)
    listed = [dataclasses.asdict(finding) for finding in findings]
    for entry in listed:
        entry.update(text=clean(entry["text"]), advice=clean(entry["advice"]))
    content: dict[str, Any] = {"healthy": healthy, "findings": listed, "seconds": seconds}
    return json.dumps(_finite(content), indent=2, allow_nan=False)


def _finite(value: Any) -> Any:
    """The same with None for numbers that JSON does not have, NaN and infinity."""
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def clean(text: str) -> str:
    """One line without control characters, which names may hold; the home folder is ``~``."""
    try:
        home = str(Path.home())
    except RuntimeError:  # it is unknown
        home = ""
    if len(home) > 1:
        text = text.replace(home, "~")
    text = "".join(c if c.isprintable() else " " for c in text)
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
