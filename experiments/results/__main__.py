"""Keeps runs and writes the tables of the README: ``python -m experiments.results``."""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from experiments.program.errors import ConfigError
from experiments.program.start import start
from experiments.settings.fields import check_ranges, setting
from experiments.settings.parser import About, parse_flags
from jax_resnet._text import did_you_mean

PROGRAM = "python -m experiments.results"
RESULTS = "experiments/results"
PAGES = ("README.md", f"{RESULTS}/README.md")


@dataclasses.dataclass(frozen=True)
class KeepConfig:
    """Keep."""

    runs: tuple[str, ...] = setting(
        (), "Folders of finished runs, or folders that hold such folders.", positional=True, metavar="RUN"
    )
    out: str = setting(RESULTS, "Folder of the kept runs.", metavar="FOLDER")
    prefix: str = setting("", "Text before the name of every kept folder, such as degradation-.")
    overwrite: bool = setting(False, "Replace kept runs of the same names.")


@dataclasses.dataclass(frozen=True)
class LogConfig:
    """Log."""

    runs: tuple[str, ...] = setting(
        (), "Folders of finished runs, or folders that hold such folders.", positional=True, metavar="RUN"
    )
    out: str = setting(f"{RESULTS}/search.jsonl", "The file of tried settings.", metavar="FILE")


@dataclasses.dataclass(frozen=True)
class TablesConfig:
    """Tables."""

    check: bool = setting(False, "Write nothing; fail where a page differs from its tables, as in CI.")
    results: str = setting(RESULTS, "Folder of the kept runs.", metavar="FOLDER")
    pages: tuple[str, ...] = setting(
        PAGES, "Markdown files with <!-- results: TABLE --> sections.", metavar="FILE"
    )


def keep(args: Sequence[str]) -> None:
    """Copies the small files of finished runs."""
    about = About(
        "Copies the small files of finished runs: settings, metrics, summary, compact predictions.",
        examples=(
            f"{PROGRAM} keep runs/cifar10-resnet20-fast-seed0 runs/cifar10-resnet20-fast-seed1",
            f"{PROGRAM} keep runs/degradation-cifar10-paper --prefix degradation-",
        ),
    )
    config = parse_flags(KeepConfig, f"{PROGRAM} keep", about, args, KeepConfig())
    _check_runs(config, "keep")

    from experiments.program.console import Console
    from experiments.results.keep import keep_runs

    keep_runs(
        [Path(run) for run in config.runs],
        Path(config.out),
        prefix=config.prefix,
        overwrite=config.overwrite,
        report=Console().line,
    )


def log(args: Sequence[str]) -> None:
    """Adds finished runs to the file of tried settings."""
    about = About(
        "Adds a line per finished run to the file of tried settings: recipe, flags, validation accuracy.",
        examples=(f"{PROGRAM} log runs/search",),
    )
    config = parse_flags(LogConfig, f"{PROGRAM} log", about, args, LogConfig())
    _check_runs(config, "log")

    from experiments.program.console import Console
    from experiments.results.search import log_runs

    log_runs([Path(run) for run in config.runs], Path(config.out), report=Console().line)


def tables(args: Sequence[str]) -> None:
    """Writes the tables of the pages, or compares them."""
    about = About(
        "Writes the tables of the README and of the results page from the kept runs.",
        examples=(f"{PROGRAM} tables", f"{PROGRAM} tables --check"),
    )
    config = parse_flags(TablesConfig, f"{PROGRAM} tables", about, args, TablesConfig())
    check_ranges(config)

    from experiments.program.console import Console
    from experiments.results.pages import write_pages

    pages = [Path(page) for page in config.pages]
    write_pages(pages, Path(config.results), check=config.check, report=Console().line)


def _check_runs(config: KeepConfig | LogConfig, job: str) -> None:
    check_ranges(config)
    if not config.runs:
        raise ConfigError(f"which runs? name their folders: {PROGRAM} {job} runs/one runs/other")


JOBS: dict[str, Callable[[Sequence[str]], None]] = {"keep": keep, "tables": tables, "log": log}


def main(args: Sequence[str] | None = None) -> None:
    """Does one of the jobs."""
    args = list(sys.argv[1:] if args is None else args)
    if args[:1] in (["--help"], ["-h"]):
        print(f"usage: {PROGRAM} JOB [flags]\n")
        width = max(map(len, JOBS))
        for name, job in JOBS.items():
            print(f"  {name:<{width}}  {job.__doc__}")
        print("\nEach explains its flags with --help.")
        return
    if not args or args[0] not in JOBS:
        hint = did_you_mean(args[0], JOBS, 1) if args else ""
        given = f", not {args[0]}" if args else ""
        raise ConfigError(f"{PROGRAM} takes a job, {', '.join(JOBS)}{given}{hint and '; ' + hint}")
    JOBS[args[0]](args[1:])


if __name__ == "__main__":
    start(main)
