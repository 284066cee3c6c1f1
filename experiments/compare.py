"""Compares networks: python -m experiments.compare --members mnist_cnn vgg16 --dataset mnist.

A comparison is data: its members, on which data, by which recipe. They are trained one after another, each
in its own folder; the same command again continues, and it ends in a report.
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.config import Config
from experiments.errors import ConfigError
from experiments.start import start


class Comparison(NamedTuple):
    """What is compared.

    Attributes:
        module: The program's, as ``python -m`` takes it.
        title: The report's heading.
        about: What the program does, in a sentence.
        members: Names of the networks, unless ``--members`` says otherwise.
        recipe: Unless ``--recipe`` says otherwise; None for the data set's own.
        dataset: Unless ``--dataset`` says otherwise.
    """

    module: str
    title: str
    about: str
    members: tuple[str, ...] = ()
    recipe: str | None = None
    dataset: str = "cifar10"


@dataclasses.dataclass(frozen=True)
class ComparisonConfig(Config):
    """A comparison: the settings that all its members share."""

    members: tuple[str, ...] = ()
    """Networks to train one after another; --arch is for single runs."""


def compare(comparison: Comparison, args: Sequence[str] | None) -> None:
    """Parses the flags, runs what is not finished, and writes the report into the folder ``report``.

    Args:
        comparison: What is compared.
        args: The flags; None for the command line's.

    Raises:
        ConfigError: A setting that cannot be.
    """
    from experiments.processes import begin
    from experiments.report import write_report
    from experiments.report.write import check_out
    from experiments.several import by_seed, run_all, say_spread

    folder, members = read(comparison, sys.argv[1:] if args is None else args)
    configs = {member.model.arch: by_seed(member, f"{member.model.arch}-") for member in members}
    for member in members:
        member.check()
    check_out(folder / "report", overwrite=True)  # before hours of training, not after

    console = begin(members[0].parallel)
    done = run_all([config for seeds in configs.values() for config in seeds], console)
    seeds = members[0].run.seeds
    for place, arch in enumerate(configs):
        say_spread(arch, done[place * seeds : (place + 1) * seeds], console)
    folders = [config.workdir for seeds in configs.values() for config in seeds]
    for note in write_report(folders, folder / "report", title=comparison.title, overwrite=True):
        console.line(note)
    console.line(f"the report is in {folder / 'report'}")


def read(comparison: Comparison, args: Sequence[str]) -> tuple[Path, list[Config]]:
    """The comparison's folder, and each member's settings.

    Raises:
        ConfigError: A flag or value that cannot be.
    """
    from experiments.cli import defaults, parse_flags

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


def main(args: Sequence[str] | None = None) -> None:
    """Compares what the flags say."""
    compare(
        Comparison(
            "experiments.compare",
            "A comparison",
            "Trains networks on the same data with the same settings, and reports how they compare.",
        ),
        args,
    )


if __name__ == "__main__":
    start(main)
