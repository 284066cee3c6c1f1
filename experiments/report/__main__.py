"""Compares runs: ``python -m experiments.report RUN [RUN ...] --out report``."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.program.errors import ConfigError
from experiments.program.start import start
from experiments.report import write_report
from experiments.settings.fields import check_ranges, setting
from experiments.settings.parser import About, parse_flags

ABOUT = About(
    "Compares runs: results, curves, settings that differ, confusions and mistakes. Runs that differ only by "
    "seed are shown as their mean and standard deviation.",
    examples=(
        "python -m experiments.report runs/resnet20-seed0 runs/resnet20-seed1 runs/plain20 --out report",
        "python -m experiments.report runs --out report   # a folder of runs",
    ),
)


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """Report."""

    runs: tuple[str, ...] = setting(
        (), "Folders of runs, or folders that hold such folders.", positional=True, metavar="RUN"
    )
    out: str = setting(
        "report",
        "Folder to write: report.html, report.md, report.json, curves.png, curves.svg.",
        metavar="FOLDER",
    )
    title: str | None = setting(None, "Heading (default: the networks and data sets).")
    data_dir: str | None = setting(
        None,
        "Folder of the data sets whose test images are shown (default: where the runs had it).",
        metavar="FOLDER",
    )
    overwrite: bool = setting(False, "Replace a report in that folder.")


def main(args: Sequence[str] | None = None) -> None:
    """Parses the flags and writes the report."""
    flags = sys.argv[1:] if args is None else args
    config = parse_flags(ReportConfig, "python -m experiments.report", ABOUT, flags, ReportConfig())
    check_ranges(config)
    if not config.runs:
        raise ConfigError("which runs? name their folders: python -m experiments.report runs/one runs/other")
    if not config.out:
        raise ConfigError("--out is empty: name a folder")

    from experiments.program.console import Console

    notes = write_report(
        config.runs, config.out, title=config.title, data_dir=config.data_dir, overwrite=config.overwrite
    )
    console = Console()
    for note in notes:
        console.line(note)
    console.line(f"the report is {Path(config.out) / 'report.html'}")


if __name__ == "__main__":
    start(main)
