"""The numbers for people and for programs."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from experiments.bench.config import BenchConfig
from experiments.runs.environment import provenance


def show(rows: list[dict[str, Any]]) -> None:
    """Prints a Markdown table, which terminals and READMEs both show well."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names, *([_text(row.get(name)) for name in names] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    # Numbers to the right, which a colon says in Markdown.
    right = [all(not isinstance(row.get(name), str) for row in rows) for name in names]
    for number, line in enumerate(cells):
        padded = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right, strict=True))
        print(f"| {' | '.join(padded)} |")
        if number == 0:
            print(
                "|"
                + "|".join("-" * (w + 1) + (":" if r else "-") for w, r in zip(widths, right, strict=True))
                + "|"
            )


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def write(config: BenchConfig, rows: list[dict[str, Any]]) -> None:
    """Writes rows, settings and versions as JSON."""
    content = {"config": dataclasses.asdict(config), **provenance(), "rows": rows}
    assert config.out is not None
    Path(config.out).write_text(json.dumps(content, indent=2) + "\n")
