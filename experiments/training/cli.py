"""The command line of a training program: flags to a config, a config to one run or several."""

import sys
from collections.abc import Sequence

from experiments.program.packages import check_packages
from experiments.program.start import announce
from experiments.program.threads import limit_threads

__all__ = ["train_command"]


def train_command(module: str, dataset: str, summary: str, args: Sequence[str] | None) -> None:
    """Parses the flags and trains.

    Args:
        module: The program, as ``python -m`` takes it.
        dataset: Default of ``--dataset``.
        summary: What the program does, in a sentence.
        args: The flags; None for the command line's.

    Raises:
        jax_resnet.errors.JaxResnetError: Whatever a user can act on.
    """
    from experiments.settings.effects import check_effects
    from experiments.settings.flags import parse

    args = sys.argv[1:] if args is None else args
    config = parse(module, summary, args, dataset)
    config.check_without_jax()  # a wrong flag is answered before jax is imported, which takes seconds
    check_effects(config, args)
    announce(config.parallel.process_id, f"loading {config.data.dataset} ...")

    check_packages()
    limit_threads(config.parallel.threads)
    from experiments.program.console import Console
    from experiments.program.distributed import init_distributed
    from experiments.training.checks import check_same_flags
    from experiments.training.run import run
    from experiments.training.sweep import per_seed_configs, print_mean_std, run_all

    parallel = config.parallel
    index = init_distributed(parallel.coordinator, parallel.num_processes, parallel.process_id)
    console = Console(quiet=index > 0)
    check_same_flags([config])
    if config.run.seeds == 1:
        run(config, console)
    else:
        print_mean_std(config.model.arch, run_all(per_seed_configs(config), console), console)
