"""The bench's numbers, printed for people and written for programs."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.bench.config import BenchConfig
from experiments.runs.markdown import markdown_table
from jax_resnet._files import write_text

__all__ = ["PROGRAM_TITLES", "Row", "format_rows", "format_tables", "write_results"]

# From a column's title to its value; a missing value is an empty cell. "program" is not printed: it says
# which of the tables of PROGRAM_TITLES the row belongs to, and None that it belongs to all.
Row = dict[str, Any]
PROGRAM_TITLES = {
    "experiments": "The experiments' program: malloc set before jax is imported",
    "user": "A library user's program: jax imported first, nothing set",
}


def format_tables(rows: Sequence[Row]) -> str:
    """Formats rows as one Markdown table, or where programs are compared as one per program."""
    programs = [name for name in PROGRAM_TITLES if any(row.get("program") == name for row in rows)]
    if len(programs) < 2:
        return format_rows(rows)
    tables = (
        f"{PROGRAM_TITLES[program]}\n\n{format_rows([r for r in rows if r['program'] in (None, program)])}"
        for program in programs
    )
    return "\n".join(tables)


def format_rows(rows: Sequence[Row]) -> str:
    """Formats rows as a Markdown table, which terminals and READMEs both show well."""
    names = [name for name in dict.fromkeys(name for row in rows for name in row) if name != "program"]
    numeric = [all(not isinstance(row.get(name), str) for row in rows) for name in names]
    return markdown_table(names, [[_cell(row.get(name)) for name in names] for row in rows], numeric)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def write_results(config: BenchConfig, rows: Sequence[Row], provenance: Mapping[str, Any]) -> None:
    """Writes rows, flags and versions to ``config.out`` as JSON."""
    content = {"config": dataclasses.asdict(config), **provenance, "rows": rows}
    assert config.out is not None
    write_text(Path(config.out), json.dumps(content, indent=2) + "\n")
