"""Times training: ``python -m experiments.bench --against torch``."""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.program.start import start


def main(args: Sequence[str] | None = None) -> None:
    """Parses the flags, times, and prints the tables."""
    from experiments.bench.config import PROGRAMS, BenchConfig
    from experiments.settings.parser import About, parse_flags

    config = parse_flags(
        BenchConfig,
        "python -m experiments.bench",
        About(
            "Times training steps round by round, so that the ratios hold on a busy machine too.",
            examples=(
                "python -m experiments.bench --against torch",
                "python -m experiments.bench --against torch --user",
                "python -m experiments.bench --start",
            ),
        ),
        sys.argv[1:] if args is None else args,
        BenchConfig(),
    )
    config.check()

    from experiments.bench.case import check_networks
    from experiments.bench.table import format_tables, write_results
    from experiments.program.console import Console
    from experiments.runs.environment import provenance
    from jax_resnet._files import write_text

    check_networks(
        config.arch, config.image_size, in_torch=config.against == "torch" or config.mode in PROGRAMS
    )
    rows = getattr(importlib.import_module(f"experiments.bench.{config.mode}"), f"time_{config.mode}")(
        config, Console()
    )
    made_by = provenance()
    if config.mode == "growth":
        from experiments.bench.growth_page import growth_page

        page = growth_page(rows, made_by)
    else:
        page = format_tables(rows)
    print(page, end="", flush=True)  # printed first: writing a file can fail
    if config.page:
        write_text(Path(config.page), page)
    if config.out:
        write_results(config, rows, made_by)


if __name__ == "__main__":
    start(main)
