"""The summary that a run writes at its end, or where ``--max-steps`` ended a part of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.runs.reading import UnreadableError, read_json
from experiments.runs.schema import COUNT, FRACTION, Check

__all__ = ["read_summary"]

NEEDED: Mapping[str, Check] = {
    "steps": COUNT,
    "total_steps": COUNT,
    "test_accuracy": FRACTION,
    # None where nothing was validated.
    "test_accuracy_best": Check(lambda value: value is None or FRACTION.accepts(value), FRACTION.description),
}


def read_summary(run: Path) -> dict[str, Any]:
    """The content of the summary in a run's folder; its steps and accuracies are valid.

    Raises:
        UnreadableError: There is none, or it is damaged.
    """
    summary = read_json(run / "summary.json")
    for name, check in NEEDED.items():
        if not check.accepts(summary.get(name)):
            raise UnreadableError(f"its {name} is not {check.description}")
    if not summary["total_steps"]:
        raise UnreadableError("it is of no training")
    return summary
