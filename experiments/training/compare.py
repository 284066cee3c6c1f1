"""What comparisons do: ``experiments.compare`` and those that are data over it."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax

from experiments.compare import Comparison
from experiments.program.distributed import init_distributed
from experiments.program.errors import ConfigError
from experiments.report import write_report
from experiments.report.write import check_out
from experiments.settings.config import Config
from experiments.settings.flags import defaults, parse_flags
from experiments.training.sweep import per_seed_configs, print_mean_std, run_all


@dataclasses.dataclass(frozen=True)
class ComparisonConfig(Config):
    """A comparison: the settings that all its members share."""

    members: tuple[str, ...] = ()
    """Networks to train one after another; --arch is for single runs."""


def compare_networks(comparison: Comparison, args: Sequence[str]) -> None:
    """See ``experiments.compare.compare``."""
    folder, members = read(comparison, args)
    configs = {member.model.arch: per_seed_configs(member, f"{member.model.arch}-") for member in members}
    for member in members:
        member.check()
    check_out(folder / "report", overwrite=True)  # before hours of training, not after

    console = init_distributed(members[0].parallel)
    done = run_all([config for seeds in configs.values() for config in seeds], console)
    seeds = members[0].run.seeds
    for place, arch in enumerate(configs):
        print_mean_std(arch, done[place * seeds : (place + 1) * seeds], console)
    folders = [config.workdir for seeds in configs.values() for config in seeds]
    if jax.process_index() == 0:
        for note in write_report(folders, folder / "report", title=comparison.title, overwrite=True):
            console.line(note)
        console.line(f"the report is in {folder / 'report'}")


def read(comparison: Comparison, args: Sequence[str]) -> tuple[Path, list[Config]]:
    """The comparison's folder, and each member's settings.

    Raises:
        ConfigError: A flag or value that cannot be.
    """

    def flags(arch: str | None) -> ComparisonConfig:
        recipes, default = defaults(args, comparison.dataset, comparison.recipe, arch)
        return parse_flags(
            ComparisonConfig,
            f"python -m {comparison.module}",
            f"{comparison.about}\n\n{recipes}",
            args,
            ComparisonConfig(**vars(default), members=comparison.members),
        )

    if any(arg.split("=")[0] == "--arch" for arg in args):
        raise ConfigError("--arch is for single runs: a comparison's networks are its --members")
    told = flags(None)
    if len(told.members) < 2 or len(set(told.members)) < len(told.members):
        raise ConfigError("--members takes two networks or more, each once: --members plain20 resnet20")
    name = comparison.module.removeprefix("experiments.")
    folder = Path(told.run.workdir or f"runs/{name}-{told.data.dataset}-{told.recipe}")
    members = []
    for arch in told.members:
        config = flags(arch)  # again: a recipe may treat networks differently
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
