"""Reads ``metrics.jsonl``, which holds a JSON object per line."""

import itertools
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from experiments.runs.reading import UnreadableError, open_regular, parse_json
from experiments.runs.schema import AMOUNT, COUNT, FRACTION, NUMBER, TEXT, Check

__all__ = ["STOPPED", "WATCHED", "read_records", "read_records_with_notes"]

# The "which" of evaluations that choose nothing: on the test set for its curve alone (--test-every), and on
# the validation set where --max-steps stops between two validations.
WATCHED = "watched"
STOPPED = "stopped"

MEASURED = ("train", "val", "test")
FIELDS = {"kind": TEXT, "step": COUNT, "epoch": AMOUNT}
MEASURED_FIELDS = {"loss": NUMBER, "accuracy": FRACTION, "images": COUNT}
OPTIONAL_FIELDS = {
    "which": TEXT,
    "grad_norm": AMOUNT,
    "learning_rate": AMOUNT,
    "images_per_second": AMOUNT,
    "seconds": AMOUNT,
}
LARGEST_LINE = 2**16
NAMED_LINES = 3


def read_records(metrics: Path) -> list[dict[str, Any]]:
    """The valid records of a ``metrics.jsonl``; none where there is no such file."""
    return read_records_with_notes(metrics)[0]


def read_records_with_notes(
    metrics: Path, *, max_bytes: int | None = None, max_lines: int | None = None
) -> tuple[list[dict[str, Any]], list[str]]:
    """The valid records of a ``metrics.jsonl``, and what was left out.

    A valid record has ``kind``, ``step`` and ``epoch``, and one of training, validation or test ``loss``,
    ``accuracy`` and ``images`` too; all numbers are finite and in range.

    Args:
        metrics: The file; a missing one holds nothing.
        max_bytes: The largest size of a file that is read.
        max_lines: Lines after these are left out.

    Returns:
        The records in order, and notes for people. A last line cut short by a crash is no note.
    """
    if not metrics.is_symlink() and not metrics.exists():
        return [], []
    try:
        with open_regular(metrics, max_bytes) as file:
            return _parse_lines(file, max_lines)
    except UnreadableError as error:
        return [], [f"metrics.jsonl is left out: {error}"]
    except OSError as error:
        return [], [f"metrics.jsonl is left out: {(error.strerror or 'cannot be read').lower()}"]


def _parse_lines(file: Any, max_lines: int | None) -> tuple[list[dict[str, Any]], list[str]]:
    records: list[dict[str, Any]] = []
    problems: list[str] = []
    count = 0
    for number, line in enumerate(itertools.islice(_lines(file), max_lines), 1):
        if not line.strip():
            continue
        problem = None
        try:
            record = _parse_record(line)
            records.append(record)
        except UnreadableError as error:
            problem = str(error)
        if problem and line.endswith(b"\n"):
            count += 1
            if len(problems) < NAMED_LINES:
                problems.append(f"line {number} is {problem}")
    notes = []
    if count:
        more = f"; and {count - len(problems):,} more" if count > len(problems) else ""
        lines = "1 line" if count == 1 else f"{count:,} lines"
        notes.append(f"left out of metrics.jsonl: {lines} ({'; '.join(problems)}{more})")
    if max_lines is not None and file.read(1):
        notes.append(f"left out of metrics.jsonl: all after line {max_lines:,}")
    return records, notes


def _lines(file: Any) -> Iterable[bytes]:
    """The lines, each cut to a length that no valid record has."""
    while line := file.readline(LARGEST_LINE):
        rest = line
        while rest and not rest.endswith(b"\n"):
            rest = file.readline(LARGEST_LINE)
            if rest.endswith(b"\n"):
                line += b"\n"
        yield line


def _parse_record(line: bytes) -> dict[str, Any]:
    record = parse_json(line)
    if not isinstance(record, dict):
        raise UnreadableError("not a JSON object")
    checks: dict[str, Check] = dict(FIELDS)
    if record.get("kind") in MEASURED:
        checks.update(MEASURED_FIELDS)
    for name, check in checks.items():
        if name not in record:
            raise UnreadableError(f"without {name}")
        if not check.accepts(record[name]):
            raise UnreadableError(f"wrong: {name} is not {check.description}")
    for name, check in OPTIONAL_FIELDS.items():
        if record.get(name) is not None and not check.accepts(record[name]):
            raise UnreadableError(f"wrong: {name} is not {check.description}")
    for name, value in record.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UnreadableError(f"wrong: {name[:40]!r} is not finite")
    return record
