"""Renders ``report.html``: gathers what the page shows and hands it to its template, page.html."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from experiments.program.errors import ExperimentError
from experiments.report import mistakes, table
from experiments.report.curves import curves_svg
from experiments.report.groups import Group, group_by_dataset
from experiments.report.runs import Run
from experiments.report.settings import (
    MISSING,
    applicable_settings,
    compare_settings,
    format_setting,
    setting_label,
)
from experiments.report.testset import TestImages
from experiments.runs.confusion import confusion_matrix
from experiments.runs.curves import COLORS, QUANTITIES, color_and_marker, has_watched_test, held_out_name
from experiments.runs.text import printable

__all__ = ["render_html"]

MAX_TABLE_CLASSES = 20  # The confusions of more classes are an image.
MAX_HARDEST = 12
MAX_OPEN = 4  # Of more networks than this, all but the first are folded.
# The curves' markers for the page's own legend, in a box of 24 by 12 around its middle.
MARKER_PATHS = {
    "o": "M12 2.5a3.5 3.5 0 1 0 .01 0z",
    "s": "M8.5 2.5h7v7h-7z",
    "^": "M12 2l4.2 7.5h-8.4z",
    "D": "M12 1.5l4.5 4.5-4.5 4.5L7.5 6z",
    "v": "M12 10L7.8 2.5h8.4z",
    "P": "M10.5 2h3v2.5H16v3h-2.5V10h-3V7.5H8v-3h2.5z",
    "X": "M9.5 2L12 4.5 14.5 2 16 3.5 13.5 6 16 8.5 14.5 10 12 7.5 9.5 10 8 8.5 10.5 6 8 3.5z",
    "<": "M7.5 6L15 1.8v8.4z",
}


def render_html(
    title: str,
    groups: Sequence[Group],
    rows: Sequence[table.Row],
    notes: Sequence[str],
    images: TestImages,
) -> str:
    """The whole page as one HTML document without links to other files.

    Args:
        title: The heading.
        groups: Runs grouped by everything but the seed.
        rows: A row of the results for each group.
        notes: What is missing or unusual.
        images: Where to find the images of the mistakes.
    """
    here = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(here),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["format_setting"] = format_setting
    is_open = [len(groups) <= MAX_OPEN or place == 0 for place in range(len(groups))]
    return environment.get_template("page.html").render(
        title=title,
        style=Markup((here / "page.css").read_text(encoding="utf-8")),
        marker_paths=MARKER_PATHS,
        columns=table.RESULT_COLUMNS,
        explanation=table.explain_results(rows),
        prediction_columns=table.prediction_columns(rows),
        prediction_explanation=table.explain_predictions(rows),
        rows=rows,
        best=_best_rows(rows),
        curves=[_curves_context(name, members) for name, members in group_by_dataset(groups).items()],
        settings=_settings_context(groups),
        runs=[
            {**_run_context(group, run, images), "open": is_open[place] and run is group.runs[0]}
            for place, group in enumerate(groups)
            for run in group.runs
        ],
        notes=notes,
    )


def _best_rows(rows: Sequence[table.Row]) -> set[int]:
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


def _curves_context(dataset: str, groups: list[Group]) -> dict[str, Any]:
    drawn = any(run.records for group in groups for run in group.runs)
    networks = [group.curves for group in groups]
    legend = []
    for place, group in enumerate(groups):
        color, marker = color_and_marker(place)
        legend.append({"label": group.label, "color": COLORS.index(color), "marker": marker})
    return {
        "dataset": dataset,
        "panels": {q: Markup(curves_svg(groups, q, f"{dataset}-{q}")) for q in QUANTITIES} if drawn else {},
        "legend": legend,
        "bold": held_out_name(networks),
        "watched": has_watched_test(networks),
        "band": any(len(group.averaged) > 1 for group in groups),
    }


def _settings_context(groups: Sequence[Group]) -> dict[str, Any]:
    """The settings that differ between groups, a row per setting, and those that do not."""
    known = [group for group in groups if group.runs[0].settings]
    runs = [group.runs[0] for group in known]
    values = [applicable_settings(run.settings) for run in runs]
    names_different, names_same = compare_settings([run.settings for run in runs])
    different: list[tuple[str, list[Any]]] = [
        (setting_label(name), [settings.get(name) for settings in values]) for name in names_different
    ]
    same = [(setting_label(name), values[0].get(name)) for name in names_same]
    environments = [_environment(run) for run in runs]
    for name in dict.fromkeys(name for environment in environments for name in environment):
        found = [environment.get(name, MISSING) for environment in environments]
        if len(set(found)) > 1:
            different.append((name, list(found)))
        else:
            same.append((name, found[0]))
    return {"groups": [group.name for group in known], "different": different, "same": same}


def _environment(run: Run) -> dict[str, str]:
    """What the numbers depend on beside settings: commit, versions, device."""
    commit = (run.environment.commit or MISSING)[:12]
    return {"commit": commit, **run.versions, "device": run.device or MISSING}


def _run_context(group: Group, run: Run, images: TestImages) -> dict[str, Any]:
    context: dict[str, Any] = {
        "name": group.name if len(group.runs) == 1 else f"{group.name}, seed {run.setting('seed')}",
        "dataset": group.dataset,
        "folder": printable(str(run.folder), 1000),
        "flags": " ".join(run.environment.flags or []),
        "notes": run.notes,
        "confusion": None,
        "mistakes": [],
        "reason": "",
    }
    if run.predictions is None:
        return context
    classes = run.predictions.logits.shape[1]
    names = run.environment.class_names or []
    if len(names) != classes:
        names = [str(label) for label in range(classes)]
    context["confusion"] = _confusion_context(run, names)
    found = mistakes.confident_mistakes(run.predictions, names)
    sources = [""] * len(found)
    try:
        pixels: Any = images.read(run, [mistake.image for mistake in found]) if found else []
        sources = [mistakes.data_uri(mistakes.thumbnail(image)) for image in pixels]
    except ExperimentError as error:
        context["reason"] = printable(str(error), 500)
    context["mistakes"] = list(zip(found, sources, strict=True))
    return context


def _confusion_context(run: Run, names: Sequence[str]) -> dict[str, Any]:
    assert run.predictions is not None
    labels, logits = run.predictions
    classes = len(names)
    counts = confusion_matrix(labels, logits.argmax(1), classes)
    fractions = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    diagonal = np.eye(classes, dtype=bool)
    worst = max(float(np.where(diagonal, 0, fractions).max()), 1e-9)
    recall = fractions.diagonal()
    present = np.flatnonzero(counts.sum(1))
    hardest = present[np.argsort(recall[present], kind="stable")][:MAX_HARDEST]
    small = classes <= MAX_TABLE_CLASSES
    validated = run.summary is not None and run.summary.test_accuracy_best is not None
    return {
        "names": names,
        "counts": counts.tolist() if small else None,
        "heat": np.where(diagonal, fractions, fractions / worst).tolist() if small else None,
        "map": None if small else mistakes.data_uri(mistakes.confusion_image(counts)),
        "images": int(counts.sum()),
        "accuracy": float(counts.trace() / counts.sum()),
        "confusions": mistakes.frequent_confusions(counts, names),
        "hardest": [] if small else [(names[label], float(recall[label])) for label in hardest],
        "checkpoint": "best on validation" if validated else "last",
    }
