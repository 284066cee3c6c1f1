"""What every experiment's page does: flags to a config, a config to a run."""

import sys
from collections.abc import Sequence


def train_command(module: str, dataset: str, about: str, args: Sequence[str] | None) -> None:
    """Parses the flags and runs.

    Args:
        module: The page's, as ``python -m`` takes it.
        dataset: Trained on unless ``--dataset`` says otherwise.
        about: What the page does, in a sentence.
        args: The flags; None for the command line's.
    """
    from experiments.program.distributed import init_distributed
    from experiments.settings.flags import parse
    from experiments.training.run import run
    from experiments.training.sweep import per_seed_configs, print_mean_std, run_all

    config = parse(f"python -m {module}", about, sys.argv[1:] if args is None else args, dataset)
    console = init_distributed(config.parallel)
    if config.run.seeds == 1:
        run(config, console)
    else:
        print_mean_std(config.model.arch, run_all(per_seed_configs(config), console), console)
