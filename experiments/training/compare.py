"""Comparisons: networks trained one after another with the same settings, and a report at the end.

A comparison is data: its networks, its data set, its recipe. Each run has its own folder; the same command
continues what was stopped. Imports jax only when it runs.
"""

import dataclasses
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.program.errors import ConfigError, Interrupted, Terminated
from experiments.program.packages import check_packages
from experiments.program.start import announce
from experiments.program.threads import limit_threads
from experiments.settings.config import Config
from experiments.settings.effects import check_effects
from experiments.settings.fields import setting
from experiments.settings.flags import about, parse_flags, peek, recipe_defaults

__all__ = ["Comparison", "ComparisonConfig", "compare", "read_members"]


class Comparison(NamedTuple):
    """What is compared.

    Attributes:
        module: The program, as ``python -m`` takes it.
        title: Heading of the report.
        summary: What the program does, in a sentence.
        members: Default of ``--members``: names of networks.
        recipe: Default of ``--recipe``; None for the data set's own.
        dataset: Default of ``--dataset``.
    """

    module: str
    title: str
    summary: str
    members: tuple[str, ...] = ()
    recipe: str | None = None
    dataset: str = "cifar10"


@dataclasses.dataclass(frozen=True)
class ComparisonConfig(Config):
    """Recipe and networks."""

    members: tuple[str, ...] = setting(
        (), "Networks to train one after another (--arch is for single runs).", common=True, metavar="ARCH"
    )


def compare(comparison: Comparison, args: Sequence[str] | None) -> None:
    """Parses the flags, runs what is not finished, and writes the report into the folder ``report``.

    Args:
        comparison: What is compared.
        args: The flags; None for the command line's.

    Raises:
        jax_resnet.errors.JaxResnetError: Whatever a user can act on.
    """
    folder, members = read_members(comparison, sys.argv[1:] if args is None else args)
    parallel = members[0].parallel
    announce(parallel.process_id, f"comparing {', '.join(member.model.arch for member in members)} ...")

    check_packages()
    limit_threads(parallel.threads)
    from experiments.program.console import Console
    from experiments.program.distributed import init_distributed
    from experiments.report import write_report
    from experiments.report.output import check_output_folder
    from experiments.training.checks import check_same_flags
    from experiments.training.sweep import how_to_continue, per_seed_configs, print_mean_std, run_all

    for member in members:
        member.check()
    check_output_folder(folder / "report", overwrite=True)  # before hours of training, not after
    configs = {member.model.arch: per_seed_configs(member, f"{member.model.arch}-") for member in members}
    index = init_distributed(parallel.coordinator, parallel.num_processes, parallel.process_id)
    console = Console(quiet=index > 0)
    check_same_flags(members)
    done = run_all([config for seeds in configs.values() for config in seeds], console)
    seeds = members[0].run.seeds
    for place, arch in enumerate(configs):
        print_mean_std(arch, done[place * seeds : (place + 1) * seeds], console)
    folders = [config.workdir for seeds in configs.values() for config in seeds]
    if index == 0:
        try:
            notes = write_report(folders, folder / "report", title=comparison.title, overwrite=True)
        except KeyboardInterrupt as error:
            number = error.number if isinstance(error, Terminated) else signal.SIGINT
            what = "stopped while the report was written, all runs are finished"
            raise Interrupted(number, f"{what}; {how_to_continue(members[0])}") from None
        for note in notes:
            console.line(note)
        console.line(f"the report is in {folder / 'report'}")


def read_members(comparison: Comparison, args: Sequence[str]) -> tuple[Path, list[Config]]:
    """The comparison's folder, and the settings of each network.

    Raises:
        ConfigError: An unknown flag or value, or fewer than two networks.
    """
    if peek(args).arch is not None:
        raise ConfigError("--arch is for single runs: a comparison's networks are its --members")
    config = _parse(comparison, args, None)
    config.check_without_jax()
    check_effects(config, args)
    if len(config.members) < 2 or len(set(config.members)) < len(config.members):
        raise ConfigError("--members takes two networks or more, each once: --members plain20 resnet20")
    name = comparison.module.removeprefix("experiments.")
    folder = Path(config.run.workdir or f"runs/{name}-{config.data.dataset}-{config.recipe}")
    members = []
    for arch in config.members:
        config = _parse(comparison, args, arch)  # again: a recipe may treat networks differently
        members.append(
            Config(
                recipe=config.recipe,
                model=dataclasses.replace(config.model, arch=arch),
                data=config.data,
                optim=config.optim,
                parallel=config.parallel,
                run=dataclasses.replace(config.run, workdir=str(folder)),
            )
        )
    return folder, members


def _parse(comparison: Comparison, args: Sequence[str], arch: str | None) -> ComparisonConfig:
    default = recipe_defaults(args, comparison.dataset, comparison.recipe, arch)
    text = about(comparison.module, comparison.summary, peek(args).dataset or comparison.dataset)
    program = f"python -m {comparison.module}"
    examples = (
        *([f"{program} --epochs 20"] if comparison.members else []),
        f"{program} --members plain20 resnet20 --seeds 3 --workdir runs/mine",
    )
    return parse_flags(
        ComparisonConfig,
        program,
        text._replace(
            examples=examples,
            help={
                "arch": None,
                "workdir": "Folder of the runs and the report (default: runs/NAME-DATASET-RECIPE).",
            },
        ),
        args,
        ComparisonConfig(**vars(default), members=comparison.members),
    )
