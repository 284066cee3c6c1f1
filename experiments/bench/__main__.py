"""Times training: python -m experiments.bench --against torch."""

import sys
from collections.abc import Sequence

from experiments.program.start import start


def main(args: Sequence[str] | None = None) -> None:
    """Parses the flags and times."""
    from experiments.bench import end_to_end, growth, networks, overhead
    from experiments.bench.config import MODES, BenchConfig
    from experiments.bench.table import show, write
    from experiments.program.console import Console
    from experiments.settings.flags import parse_flags

    config = parse_flags(
        BenchConfig,
        "python -m experiments.bench",
        "Times training steps in turns, so that the ratios mean something on a busy machine too.",
        sys.argv[1:] if args is None else args,
        BenchConfig(),
    )
    config.check()
    console = Console()
    modes = {
        "layers": networks.layers,
        "scaling": growth.scaling,
        "depth": growth.depth,
        "loop": overhead.loop_cost,
        "epoch": end_to_end.whole_epoch,
    }
    mode = next((modes[name] for name in MODES if getattr(config, name)), networks.networks)
    rows = mode(config, console)
    show(rows)
    if config.out:
        write(config, rows)


if __name__ == "__main__":
    start(main)
