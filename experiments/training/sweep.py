"""Several runs one after another, each in its own folder: over seeds, over networks. All can be continued."""

import dataclasses
import functools
import statistics
from collections.abc import Sequence
from typing import Any

from experiments.program.console import Console
from experiments.program.errors import ConfigError, ExperimentError, Preempted
from experiments.runs.ending import read_summary
from experiments.runs.reading import UnreadableError
from experiments.settings.config import Config
from experiments.settings.resume import check_same, saved_config
from experiments.training.run import run
from jax_resnet.parallel.collectives import broadcast_from_primary

__all__ = ["finished", "how_to_continue", "per_seed_configs", "print_mean_std", "run_all", "run_or_resume"]


def per_seed_configs(config: Config, prefix: str = "") -> list[Config]:
    """One config per seed of ``--seeds``; with ``--workdir`` in its folders PREFIXseed0, PREFIXseed1, ..."""
    configs = []
    for seed in range(config.run.seed, config.run.seed + config.run.seeds):
        workdir = config.run.workdir and f"{config.run.workdir}/{prefix}seed{seed}"
        run_config = dataclasses.replace(config.run, seed=seed, seeds=1, workdir=workdir)
        configs.append(dataclasses.replace(config, run=run_config))
    return configs


def run_all(configs: Sequence[Config], console: Console) -> list[dict[str, Any]]:
    """Runs or continues every run that is not finished; returns the summaries of all.

    Raises:
        ConfigError: An invalid setting, or another one than the run was started with.
        Preempted: A signal stopped one of them.
    """
    for config in configs:
        config.check()
    if configs[0].run.resume:
        _check_begun(configs)
    configs = _of_one_dtype(configs)
    summaries = []
    for number, config in enumerate(configs, 1):
        console.line(f"run {number} of {len(configs)}: {config.workdir}")
        if summary := broadcast_from_primary(functools.partial(finished, config), (ConfigError,)):
            console.line(f"finished before: test accuracy {summary['test_accuracy']:.2%}")
        else:
            summary = run_or_resume(config, console)
        summaries.append(summary)
    return summaries


def _check_begun(configs: Sequence[Config]) -> None:
    """Checks that there is something to resume, and that it was begun with these settings.

    Raises:
        ExperimentError: There is nothing.
        ConfigError: Other settings.
    """
    if not broadcast_from_primary(lambda: any(saved_config(config.workdir) for config in configs)):
        raise ExperimentError(
            f"no run in {configs[0].workdir.parent} to resume: leave --resume out to start one"
        )
    for config in configs:
        check_same(config, config.workdir)


def _of_one_dtype(configs: Sequence[Config]) -> list[Config]:
    """With ``--dtype auto``, runs that are not begun take the type of those that are: they are compared."""

    def dtype_of_begun() -> str | None:
        begun = (saved_config(config.workdir) for config in configs if not config.run.overwrite)
        return next((saved.model.dtype for saved in begun if saved is not None), None)

    dtype: Any = broadcast_from_primary(dtype_of_begun)
    return [
        dataclasses.replace(config, model=dataclasses.replace(config.model, dtype=dtype))
        if dtype is not None and config.model.dtype == "auto" and saved_config(config.workdir) is None
        else config
        for config in configs
    ]


def finished(config: Config) -> dict[str, Any] | None:
    """The summary of a finished run; None for any other.

    Raises:
        ConfigError: The run was started with other settings.
    """
    if config.run.overwrite:
        return None
    try:
        summary = read_summary(config.workdir)
    except UnreadableError:
        return None
    if saved_config(config.workdir) is None:
        return None  # of which settings, nobody knows
    check_same(config, config.workdir)
    wanted = min(config.run.max_steps or summary["total_steps"], summary["total_steps"])
    return summary if summary["steps"] >= wanted else None


def run_or_resume(config: Config, console: Console) -> dict[str, Any]:
    """Continues the run in the config's folder, or starts one there."""
    # Asked once for all processes: the first of them may have begun to write when the last one looks.
    started = broadcast_from_primary(lambda: saved_config(config.workdir) is not None)
    resume = started and not config.run.overwrite
    config = dataclasses.replace(config, run=dataclasses.replace(config.run, resume=resume))
    try:
        return run(config, console)
    except Preempted as stop:
        raise Preempted(stop.number, stop.step, stop.workdir, how_to_continue(config)) from None


def how_to_continue(config: Config) -> str:
    """What a user does after a stop: with ``--overwrite`` the same command would delete finished runs."""
    return f"the same command{' without --overwrite' if config.run.overwrite else ''} continues"


def print_mean_std(name: str, summaries: Sequence[dict[str, Any]], console: Console) -> None:
    """Prints mean and sample standard deviation of the test accuracies that runs print."""
    last = _mean_std([summary["test_accuracy"] for summary in summaries])
    best = [accuracy for summary in summaries if (accuracy := summary.get("test_accuracy_best")) is not None]
    seeds = f" over {len(summaries)} seeds" if len(summaries) > 1 else ""
    chosen = (
        f", of the checkpoints best on validation {_mean_std(best)}" if len(best) == len(summaries) else ""
    )
    console.line(f"{name}: test accuracy {last}{seeds}{chosen}")


def _mean_std(accuracies: Sequence[float]) -> str:
    percent = [100 * accuracy for accuracy in accuracies]
    spread = f" ± {statistics.stdev(percent):.2f}" if len(percent) > 1 else ""
    return f"{statistics.mean(percent):.2f}{spread} %"
