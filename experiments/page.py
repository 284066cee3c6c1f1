"""What every experiment's page does: flags to a config, a config to a run."""

import sys
from collections.abc import Sequence


def run_page(module: str, dataset: str, about: str, args: Sequence[str] | None) -> None:
    """Parses the flags and runs.

    Args:
        module: The page's, as ``python -m`` takes it.
        dataset: Trained on unless ``--dataset`` says otherwise.
        about: What the page does, in a sentence.
        args: The flags; None for the command line's.
    """
    from experiments.cli import parse
    from experiments.processes import begin
    from experiments.run import run
    from experiments.several import by_seed, run_all, say_spread

    config = parse(f"python -m {module}", about, sys.argv[1:] if args is None else args, dataset)
    console = begin(config.parallel)
    if config.run.seeds == 1:
        run(config, console)
    else:
        say_spread(config.model.arch, run_all(by_seed(config), console), console)
