"""What ``write_report`` does, file by file."""

import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path

from experiments.program.errors import ConfigError
from experiments.report import table
from experiments.report.curves import write_curves
from experiments.report.groups import Group, group
from experiments.report.page import render
from experiments.report.runs import Run, find_runs, read_run
from experiments.report.testset import TestImages

# report.json comes last and says that the folder is a report's.
MARK = "report.json"
OURS = re.compile(r"report\.(html|md|json)|curves(-[\w-]+)?\.(png|svg)")


def write(
    paths: Sequence[Path], out: Path, title: str | None, *, data_dir: str | None, overwrite: bool
) -> list[str]:
    """See ``experiments.report.write_report``."""
    folders, notes = find_runs(paths)
    check_out(out, overwrite=overwrite)
    runs = [read_run(folder) for folder in folders]
    groups = group(runs)
    notes += gathered(runs) + repeated(groups)
    rows = [table.make_row(part) for part in groups]
    title = title or heading(groups)

    out.mkdir(parents=True, exist_ok=True)
    for old in out.iterdir():
        if OURS.fullmatch(old.name):
            old.unlink()
    pictures = {}
    for dataset, members in by_dataset(groups).items():
        suffix = re.sub(r"\W+", "-", dataset.lower()).strip("-")
        name = "curves" if len(by_dataset(groups)) == 1 else f"curves-{suffix}"
        pictures[dataset] = write_curves(members, dataset, out / name)
    write_text(out / "report.md", to_markdown(title, rows, pictures, notes))
    write_text(out / "report.html", render(title, groups, rows, notes, TestImages(data_dir)))
    content = {"title": title, "rows": [dataclasses.asdict(row) for row in rows], "notes": notes}
    write_text(out / MARK, json.dumps(content, indent=2) + "\n")
    return notes


def check_out(out: Path, *, overwrite: bool) -> None:
    """Refuses a folder that is not free for a report.

    Raises:
        ConfigError: It holds something else, or a report that is not to be overwritten.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise ConfigError(f"--out {out} is a file: name a folder")
    if (out / MARK).exists():
        if not overwrite:
            raise ConfigError(f"--out {out} holds a report already: --overwrite it, or name another")
    elif held := sorted(path.name for path in out.iterdir()):
        raise ConfigError(f"--out {out} holds {held[0]}, which is no report's: name another folder")


def gathered(runs: Sequence[Run]) -> list[str]:
    """The runs' notes, a line for those that have the same."""
    folders: dict[str, list[str]] = {}
    for run in runs:
        for note in run.notes:
            folders.setdefault(note, []).append(str(run.folder))
    return [f"{', '.join(names)}: {note}." for note, names in folders.items()]


def repeated(groups: Sequence[Group]) -> list[str]:
    """A line for each group in which runs differ by nothing at all."""
    notes = []
    for part in groups:
        seeds = [run.setting("seed") for run in part.counted]
        if len(set(seeds)) < len(seeds):
            notes.append(f"{part.name}: runs with the same settings and seed count as different seeds.")
    return notes


def heading(groups: Sequence[Group]) -> str:
    """What is compared on what."""
    networks = list(dict.fromkeys(str(part.runs[0].setting("arch") or part.name) for part in groups))
    named = ", ".join(networks[:4]) + (f" and {len(networks) - 4} more" if len(networks) > 4 else "")
    return f"{named} on {' and '.join(by_dataset(groups))}"


def by_dataset(groups: Sequence[Group]) -> dict[str, list[Group]]:
    """The groups by the data they learned, in order of appearance."""
    found: dict[str, list[Group]] = {}
    for part in groups:
        found.setdefault(part.dataset, []).append(part)
    return found


def to_markdown(
    title: str, rows: Sequence[table.Row], pictures: dict[str, list[Path]], notes: Sequence[str]
) -> str:
    """The report as one page of Markdown."""
    parts = [f"# {title}\n", table.markdown(rows), table.explain(rows) + "\n"]
    for dataset, paths in pictures.items():
        parts += [f"![Error and loss on {dataset} against epochs]({path.name})\n" for path in paths[:1]]
    if notes:
        parts.append("".join(f"- {note}\n" for note in notes))
    return "\n".join(parts)


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    draft = path.with_name(f".{path.name}")
    draft.write_text(text)
    draft.replace(path)
