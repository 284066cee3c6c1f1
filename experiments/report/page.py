"""The page: everything that report.html shows, handed to its template."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from experiments.program.errors import ExperimentError
from experiments.report import mistakes, table
from experiments.report.curves import COLORS, QUANTITIES, held_out_name, look, panel
from experiments.report.groups import MISSING, Group, differences, show, spell
from experiments.report.runs import Run
from experiments.report.testset import TestImages

CELLS = 20  # The confusion of so many classes is a table; of more, a picture.
SHOWN_CLASSES = 12
OPEN = 4  # Of more networks than that, all but the first are folded.
# The marks of the curves for the page's own legend, in a box of 24 by 12 around its middle.
MARK_PATHS = {
    "o": "M12 2.5a3.5 3.5 0 1 0 .01 0z",
    "s": "M8.5 2.5h7v7h-7z",
    "^": "M12 2l4.2 7.5h-8.4z",
    "D": "M12 1.5l4.5 4.5-4.5 4.5L7.5 6z",
    "v": "M12 10L7.8 2.5h8.4z",
    "P": "M10.5 2h3v2.5H16v3h-2.5V10h-3V7.5H8v-3h2.5z",
    "X": "M9.5 2L12 4.5 14.5 2 16 3.5 13.5 6 16 8.5 14.5 10 12 7.5 9.5 10 8 8.5 10.5 6 8 3.5z",
    "<": "M7.5 6L15 1.8v8.4z",
}


def render(
    title: str,
    groups: Sequence[Group],
    rows: Sequence[table.Row],
    notes: Sequence[str],
    images: TestImages,
) -> str:
    """The whole page as one HTML document that needs nothing else.

    Args:
        title: The heading.
        groups: The runs, those together that differ only by seed.
        rows: A row of the table for each group.
        notes: What is missing or odd.
        images: Where to find pictures of the mistakes.
    """
    here = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(here),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["show"] = show
    datasets = list(dict.fromkeys(part.dataset for part in groups))
    return environment.get_template("page.html").render(
        title=title,
        style=Markup((here / "page.css").read_text()),
        marks=MARK_PATHS,
        columns=table.COLUMNS,
        explanation=table.explain(rows),
        rows=rows,
        best=best_rows(rows),
        curves=[_curves(name, [part for part in groups if part.dataset == name]) for name in datasets],
        settings=_settings(groups),
        runs=[
            {**_run(part, run, images), "open": run is part.runs[0] and (nr == 0 or len(groups) <= OPEN)}
            for nr, part in enumerate(groups)
            for run in part.runs
        ],
        notes=notes,
    )


def best_rows(rows: Sequence[table.Row]) -> set[int]:
    """The places of the rows with the highest test accuracy of the last checkpoint on their data set."""
    best = set()
    for dataset in {row.dataset for row in rows}:
        found = {
            place: row.test_accuracy_last.mean
            for place, row in enumerate(rows)
            if row.dataset == dataset and row.test_accuracy_last
        }
        if len(found) > 1:
            best.add(max(found, key=found.__getitem__))
    return best


def _curves(dataset: str, groups: list[Group]) -> dict[str, Any]:
    drawn = any(run.records for part in groups for run in part.runs)
    legend = [
        {"label": part.label, "curve": COLORS.index(look(place)[0]), "mark": look(place)[1]}
        for place, part in enumerate(groups)
    ]
    return {
        "dataset": dataset,
        "panels": {q: Markup(panel(groups, q, f"{dataset}-{q}")) for q in QUANTITIES} if drawn else {},
        "legend": legend,
        "bold": held_out_name(groups),
        "band": any(len(part.counted) > 1 for part in groups),
    }


def _settings(groups: Sequence[Group]) -> dict[str, Any]:
    """What differs between groups, a row a setting, and what does not."""
    firsts = [part.runs[0] for part in groups if part.runs[0].settings]
    names = [part.name for part in groups if part.runs[0].settings]
    apart, shared = differences(firsts)
    different: list[tuple[str, list[Any]]]
    different = [(spell(name), [run.settings.get(name) for run in firsts]) for name in apart]
    same = [(spell(name), firsts[0].settings.get(name)) for name in shared]
    for name in dict.fromkeys(name for run in firsts for name in _environment(run)):
        values: list[Any] = [_environment(run).get(name, MISSING) for run in firsts]
        if len(set(values)) > 1:
            different.append((name, values))
        else:
            same.append((name, values[0]))
    return {"groups": names, "different": different, "same": same}


def _environment(run: Run) -> dict[str, str]:
    """Of what the numbers depend on as well: commit, versions, device."""
    about = run.about
    found = {"commit": (about.get("commit") or MISSING)[:12], **about.get("versions", {})}
    return {**found, "device": run.device or MISSING}


def _run(part: Group, run: Run, images: TestImages) -> dict[str, Any]:
    seed = run.setting("seed")
    shown: dict[str, Any] = {
        "name": part.name if len(part.runs) == 1 else f"{part.name}, seed {seed}",
        "dataset": part.dataset,
        "folder": run.folder,
        "flags": " ".join(run.about.get("flags", [])),
        "notes": run.notes,
        "confusion": None,
        "mistakes": [],
        "reason": "",
    }
    if run.predictions is None:
        return shown
    counts = mistakes.confusion(run.predictions)
    classes = len(counts)
    written = run.about.get("data", {}).get("class_names", [])
    names = written if len(written) == classes else [str(label) for label in range(classes)]
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    worst = max(float(np.where(np.eye(classes, dtype=bool), 0, share).max()), 1e-9)
    recall = share.diagonal()
    hardest = np.argsort(recall, kind="stable")[:SHOWN_CLASSES]
    shown["confusion"] = {
        "names": names,
        "counts": counts.tolist() if classes <= CELLS else None,
        "heat": np.where(np.eye(classes, dtype=bool), share, share / worst).tolist(),
        "map": mistakes.data_uri(mistakes.heat_map(counts)) if classes > CELLS else None,
        "images": int(counts.sum()),
        "accuracy": float(counts.trace() / counts.sum()),
        "pairs": mistakes.confused(counts, names),
        "hardest": [(names[label], float(recall[label])) for label in hardest] if classes > CELLS else [],
        "checkpoint": "best on validation" if run.summary.get("test_accuracy_best") is not None else "last",
    }
    found = mistakes.confident_mistakes(run.predictions, names)
    pictures: Sequence[str] = [""] * len(found)
    try:
        pixels = images.of(run, [mistake.image for mistake in found])
        pictures = [mistakes.data_uri(mistakes.picture(image)) for image in pixels]
    except ExperimentError as error:
        shown["reason"] = str(error)
    shown["mistakes"] = list(zip(found, pictures, strict=True))
    return shown
