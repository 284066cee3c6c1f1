"""The bench's numbers, printed for people and written for programs."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.bench.config import BenchConfig
from experiments.runs.environment import provenance
from jax_resnet._files import write_text

__all__ = ["Row", "print_table", "write_results"]

# From a column's title to its value; a missing value is an empty cell.
Row = dict[str, Any]


def print_table(rows: Sequence[Row]) -> None:
    """Prints a Markdown table, which terminals and READMEs both show well."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names, *([_cell(row.get(name)) for name in names] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    right = [all(not isinstance(row.get(name), str) for row in rows) for name in names]
    for number, line in enumerate(cells):
        padded = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right, strict=True))
        print(f"| {' | '.join(padded)} |")
        if number == 0:
            rules = ("-" * (w + 1) + (":" if r else "-") for w, r in zip(widths, right, strict=True))
            print(f"|{'|'.join(rules)}|")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def write_results(config: BenchConfig, rows: Sequence[Row]) -> None:
    """Writes rows, flags and versions to ``config.out`` as JSON."""
    content = {"config": dataclasses.asdict(config), **provenance(), "rows": rows}
    assert config.out is not None
    write_text(Path(config.out), json.dumps(content, indent=2) + "\n")
