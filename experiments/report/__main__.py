"""Compares runs: python -m experiments.report RUN [RUN ...] --out report."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from experiments.program.errors import ConfigError
from experiments.program.start import start
from experiments.report import write_report


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """What to compare, and where to say so."""

    runs: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="RUN ...")] = ()
    """Folders of runs, or folders that hold such folders."""
    out: str = "report"
    """The folder to write: report.html, report.md, report.json, curves.png, curves.svg."""
    title: str | None = None
    """The heading; what is compared on what, by default."""
    data_dir: str | None = None
    """Where the data sets are whose test images are shown; as the runs had it, by default."""
    overwrite: bool = False
    """Replace a report in that folder."""


def main(args: Sequence[str] | None = None) -> None:
    """Parses the flags and writes the report."""
    from experiments.program.console import Console
    from experiments.settings.flags import parse_flags

    config = parse_flags(
        ReportConfig,
        "python -m experiments.report",
        "Compares runs: a table, curves, what differs, what was mistaken for what. Runs that differ only by "
        "seed are shown as their mean and standard deviation.",
        sys.argv[1:] if args is None else args,
        ReportConfig(),
    )
    if not config.runs:
        raise ConfigError("which runs? name their folders: python -m experiments.report runs/one runs/other")
    notes = write_report(
        config.runs, config.out, title=config.title, data_dir=config.data_dir, overwrite=config.overwrite
    )
    console = Console()
    for note in notes:
        console.line(note)
    console.line(f"the report is {Path(config.out) / 'report.html'}")


if __name__ == "__main__":
    start(main)
