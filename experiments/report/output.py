"""Writes a report's files."""

import contextlib
import dataclasses
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from experiments.program.errors import ConfigError
from experiments.report import table
from experiments.report.curves import write_curves
from experiments.report.find import find_runs
from experiments.report.groups import Group, group_by_dataset, group_runs
from experiments.report.html import render_html
from experiments.report.runs import Run, read_run
from experiments.report.testset import TestImages
from experiments.runs.markdown import escape
from experiments.runs.text import printable
from jax_resnet._files import write_text

__all__ = ["check_output_folder", "write_report_files"]

# report.json is written last and marks the folder as a report's.
MARK = "report.json"
DRAFT = ".unfinished"
OWN_FILES = re.compile(r"report\.(html|md|json)|curves(-[\w-]+)?\.(png|svg)")


def write_report_files(
    paths: Sequence[Path], out: Path, title: str | None, *, data_dir: str | None, overwrite: bool
) -> list[str]:
    """See ``experiments.report.write_report``."""
    folders, notes = find_runs(paths)
    check_output_folder(out, overwrite=overwrite)
    out.mkdir(parents=True, exist_ok=True)
    if not os.access(out, os.W_OK):
        raise ConfigError(f"--out {out} cannot be written: name another folder")

    runs = [read_run(folder) for folder in folders]
    groups = group_runs(runs)
    notes += _notes_of_runs(runs) + _notes_on_repeated_seeds(groups)
    rows = [table.make_row(group) for group in groups]
    title = printable(title or _default_title(groups))

    with _replacing_report(out) as draft:
        figures = {}
        for dataset, stem in _curve_names(groups).items():
            paths, undrawn = write_curves(group_by_dataset(groups)[dataset], dataset, draft / stem)
            figures[dataset] = paths
            notes += [f"{note}." for note in undrawn if f"{note}." not in notes]
        write_text(draft / "report.md", _to_markdown(title, rows, figures, notes))
        write_text(draft / "report.html", render_html(title, groups, rows, notes, TestImages(data_dir)))
        content = {"title": title, "rows": [dataclasses.asdict(row) for row in rows], "notes": notes}
        write_text(draft / MARK, json.dumps(content, indent=2, allow_nan=False) + "\n")
    return notes


@contextlib.contextmanager
def _replacing_report(out: Path) -> Iterator[Path]:
    """Yields a folder whose files become the report in ``out``; an error leaves ``out`` as it was."""
    draft = out / DRAFT
    shutil.rmtree(draft, ignore_errors=True)  # of a process that was killed
    try:
        draft.mkdir()
        yield draft
        for old in out.iterdir():
            if OWN_FILES.fullmatch(old.name):
                old.unlink()
        for new in sorted(draft.iterdir(), key=lambda file: file.name == MARK):
            new.rename(out / new.name)
    except OSError as error:
        error.filename = error.filename and str(error.filename).replace(f"{DRAFT}{os.sep}", "")
        raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        with contextlib.suppress(OSError):  # stays where there is something
            out.rmdir()


def check_output_folder(out: Path, *, overwrite: bool) -> None:
    """Checks that a report may be written into a folder.

    Raises:
        ConfigError: The folder holds something else, or a report that may not be overwritten.
    """
    if "\0" in str(out):
        raise ConfigError("--out holds a NUL character, which no folder's name can")
    if not out.exists():
        return
    if not out.is_dir():
        raise ConfigError(f"--out {out} is a file: name a folder")
    if (out / MARK).exists():
        if not overwrite:
            raise ConfigError(f"--out {out} holds a report already: --overwrite it, or name another")
    elif held := sorted(path.name for path in out.iterdir() if path.name != DRAFT):
        raise ConfigError(f"--out {out} holds {held[0]}, which is no report's: name another folder")


def _notes_of_runs(runs: Sequence[Run]) -> list[str]:
    """The runs' notes; runs with the same note share a line."""
    folders: dict[str, list[str]] = {}
    for run in runs:
        for note in run.notes:
            folders.setdefault(note, []).append(printable(str(run.folder)))
    return [f"{', '.join(names)}: {note}." for note, names in folders.items()]


def _notes_on_repeated_seeds(groups: Sequence[Group]) -> list[str]:
    notes = []
    for group in groups:
        seeds = [run.setting("seed") for run in group.averaged]
        if len(set(seeds)) < len(seeds):
            notes.append(f"{group.name}: runs with the same settings and seed count as different seeds.")
    return notes


def _default_title(groups: Sequence[Group]) -> str:
    names = [printable(str(group.runs[0].setting("arch") or group.name), 60) for group in groups]
    networks = list(dict.fromkeys(names))
    named = ", ".join(networks[:4]) + (f" and {len(networks) - 4} more" if len(networks) > 4 else "")
    return f"{named} on {' and '.join(group_by_dataset(groups))}"


def _curve_names(groups: Sequence[Group]) -> dict[str, str]:
    """A file name without suffix for the curves of each data set."""
    datasets = list(group_by_dataset(groups))
    if len(datasets) == 1:
        return {datasets[0]: "curves"}
    names: dict[str, str] = {}
    for dataset in datasets:
        name = f"curves-{re.sub(r'[^a-z0-9]+', '-', dataset.lower())[:40].strip('-')}".rstrip("-")
        while name in names.values() or name == "curves":
            name = f"{name}-{len(names) + 1}"
        names[dataset] = name
    return names


def _to_markdown(
    title: str, rows: Sequence[table.Row], figures: dict[str, list[Path]], notes: Sequence[str]
) -> str:
    """The report as one page of Markdown."""
    parts = [
        f"# {_escape_line(title)}\n",
        table.table_markdown(rows, table.RESULT_COLUMNS),
        _escape_line(table.explain_results(rows)) + "\n",
    ]
    if columns := table.prediction_columns(rows):
        parts += [
            table.table_markdown(rows, columns),
            _escape_line(table.explain_predictions(rows)) + "\n",
        ]
    for dataset, paths in figures.items():
        alternative = _escape_line(f"Error and loss on {dataset} against epochs")
        parts += [f"![{alternative}]({path.name})\n" for path in paths[:1]]
    if notes:
        parts.append("".join(f"- {_escape_line(note)}\n" for note in notes))
    return "\n".join(parts)


def _escape_line(text: str) -> str:
    """Text that Markdown shows as it is, also at the start of a line, where it is no heading or list."""
    return re.sub(r"^(\d*)([-+=#.)])", r"\1\\\2", escape(text))
