"""Reading what runs have written."""

import contextlib
import json
from pathlib import Path
from typing import Any


def read_records(metrics: Path) -> list[dict[str, Any]]:
    """The lines of a ``metrics.jsonl``, if there is one; a last line cut short by a crash is left out."""
    if not metrics.exists():
        return []
    records = []
    for line in metrics.read_text().splitlines():
        with contextlib.suppress(ValueError):
            records.append(json.loads(line))
    return records
