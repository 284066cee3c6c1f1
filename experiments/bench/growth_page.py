"""The page of the growth bench: a table for each sweep, and what to choose by it."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments.bench.growth import sweeps
from experiments.bench.table import Row, format_rows

__all__ = ["CHOICES", "growth_page"]

STEP, SPEED, MEMORY = "step (ms)", "images/s", "peak memory (MiB)"
START, COST = "to the first step's end (s)", "cost of a multiply-add"
IN_LOOPS, WRITTEN_OUT, RECOMPUTED = ", in loops", ", written out", ", in loops, recomputed"

# The rows of a sweep in one computation type, by what they differ in.
Rows = Mapping[str, Row]


def growth_page(rows: Sequence[Row], provenance: Mapping[str, Any]) -> str:
    """The Markdown page.

    Args:
        rows: What ``time_growth`` returns.
        provenance: Command, versions, commit and hardware of the run.
    """
    parts = [
        "# How the cost of a training step grows",
        f"Written by `{provenance['command']}`\non {_machine(provenance)}.",
        _paragraph(
            "A step is forward, backward and SGD. The start is everything from a new process to the end of "
            "the first step, compilation included. The cost of a multiply-add is relative to the first row."
        ),
    ]
    known = sweeps()
    for name in dict.fromkeys(row["sweep"] for row in rows):
        of_sweep = [row for row in rows if row["sweep"] == name]
        parts += [f"## {name.capitalize()}: {known[name].network}", _table(of_sweep)]
        for dtype in dict.fromkeys(row["dtype"] for row in of_sweep):
            same = {row[name]: row for row in of_sweep if row["dtype"] == dtype}
            parts.append(_paragraph(f"**What to choose ({dtype}).** {CHOICES[name](same)}"))
    return "\n\n".join(parts) + "\n"


def _machine(provenance: Mapping[str, Any]) -> str:
    versions, hardware = provenance["versions"], provenance["hardware"]
    commit = str(provenance["commit"] or "unknown")[:9]
    cpu = f"{hardware['cores']} cores of an {hardware['cpu']}"
    return f"{cpu}, jax {versions['jax']}, Python {versions['python']} (commit {commit})"


def _table(rows: Sequence[Row]) -> str:
    empty = {key for key in rows[0] if all(row[key] is None for row in rows)}
    shown = [{key: value for key, value in row.items() if key not in {"sweep", *empty}} for row in rows]
    return format_rows(shown).rstrip("\n")


def _paragraph(text: str) -> str:
    return textwrap.fill(text, 118, break_long_words=False, break_on_hyphens=False)


def _batch(rows: Rows) -> str:
    best = max(row[SPEED] for row in rows.values())
    enough = next(value for value, row in rows.items() if row[SPEED] >= 0.9 * best)
    last = list(rows)[-1]
    return (
        f"Batches of {enough} run at {_percent(rows[enough][SPEED] / best)} of the best speed, in "
        f"{rows[enough][MEMORY]:,.0f} MiB; one image at a time at {_percent(rows['1'][SPEED] / best)}. "
        f"Batches of {last} take {rows[last][MEMORY]:,.0f} MiB, at {_percent(rows[last][SPEED] / best)}."
    )


def _depth(rows: Rows) -> str:
    pairs = {
        value.removesuffix(WRITTEN_OUT): (row, rows[value.replace(WRITTEN_OUT, IN_LOOPS)])
        for value, row in rows.items()
        if value.endswith(WRITTEN_OUT)
    }
    sooner = [name for name, (out, loop) in pairs.items() if loop[START] < out[START]]
    steps = [loop[STEP] / out[STEP] for out, loop in pairs.values()]
    saved = [
        1 - row[MEMORY] / rows[value.replace(RECOMPUTED, IN_LOOPS)][MEMORY]
        for value, row in rows.items()
        if value.endswith(RECOMPUTED)
    ]
    start = f"start sooner from {sooner[0]} on" if sooner else "never start sooner"
    return (
        f"Loops (`--scan-layers`) {start}; their steps take {min(steps):.2f} to {max(steps):.2f} times as "
        "long as written out. Write a network out that trains for hours, as long as it compiles in a minute: "
        "above 164 layers only loops were tried. Recomputing (`--remat`) saves up to "
        f"{_percent(max(saved))} of the memory of loops: for networks that do not fit."
    )


def _width(rows: Rows) -> str:
    first, last = next(iter(rows.values())), list(rows.values())[-1]
    widest = list(rows)[-1]
    return (
        f"With N = {widest} a step takes {last[STEP] / first[STEP]:.3g} times as long as with 1, and a "
        f"multiply-add costs {last[COST]:.2f} times as much. Below 1, width is cheaper than the same "
        "multiply-adds as depth."
    )


def _cardinality(rows: Rows) -> str:
    cheapest = min(rows, key=lambda value: rows[value][STEP])
    return (
        "More groups have fewer multiply-adds, each of which costs up to "
        f"{max(row[COST] for row in rows.values()):.2f} times as much. The step is shortest with {cheapest}: "
        f"{rows[cheapest][STEP]:,.0f} ms, and {rows['1'][STEP]:,.0f} ms in one group."
    )


def _groups(rows: Rows) -> str:
    slower = [value for value, row in rows.items() if row[STEP] > rows["1"][STEP]]
    than_one = f"With {', '.join(slower)} groups it takes" if slower else "It never takes"
    worst = max(rows, key=lambda value: rows[value][COST])
    return (
        f"A multiply-add of a grouped layer costs up to {rows[worst][COST]:.2f} times as much as one of the "
        f"dense layer, with {worst} groups. {than_one} longer than in one."
    )


def _image_size(rows: Rows) -> str:
    costs = [row[COST] for row in rows.values()]
    return (
        f"A multiply-add costs {min(costs):.2f} to {max(costs):.2f} times as much as at the smallest size: "
        "the time of a step grows with the number of its pixels."
    )


def _processes(rows: Rows) -> str:
    ratio = rows["2"][SPEED] / rows["1"][SPEED]
    choice = "one after the other, with all cores" if ratio < 1.05 else "two side by side"
    return (
        "Two processes, each with half of the cores and of the images, which exchange nothing, make "
        f"{ratio:.2f} times the images per second of one: run several trainings {choice}."
    )


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.0f}%"


CHOICES: dict[str, Callable[[Rows], str]] = {
    "batch": _batch,
    "depth": _depth,
    "width": _width,
    "cardinality": _cardinality,
    "groups": _groups,
    "image-size": _image_size,
    "processes": _processes,
}
