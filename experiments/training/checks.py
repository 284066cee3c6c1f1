"""Whether a run may begin: what is there is what it expects, and all processes agree."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.program.errors import ConfigError, ExperimentError
from experiments.runs.folder import OURS
from experiments.runs.records import read_records
from experiments.settings.config import Config
from experiments.settings.fields import flag_of, settings_of
from experiments.settings.resume import check_same, saved_config
from experiments.training.build import Experiment
from jax_resnet import checkpoint
from jax_resnet.checkpoint.steps import complete_steps
from jax_resnet.parallel.collectives import allgather_rows, broadcast_from_primary

__all__ = ["check_is_run", "check_resumable", "check_same_data", "check_same_flags", "has_checkpoint"]

# What each process may have of its own: its place among them, and where things lie on its machine.
OWN = (
    *("coordinator", "process_id", "threads", "workers"),
    *("data_dir", "archive", "mirror", "workdir", "compilation_cache"),
)


def check_same_flags(configs: Sequence[Config]) -> None:
    """Checks that all processes were started with the same flags.

    It comes before anything else that they do together: after other flags they would wait for each other at
    other places.

    Args:
        configs: The runs to do.

    Raises:
        ExperimentError: One differs from the first; it is raised in all.
    """
    each = [settings_of(config) for config in configs]
    settings = {flag_of(name): [of[name] for of in each] for name in each[0] if name not in OWN}
    _check_same({"number of runs": len(configs), **settings})


def check_same_data(experiment: Experiment) -> None:
    """Checks that all processes train on the same images.

    Each orders the images by itself: of another number of them it would make another order, without a word.

    Raises:
        ExperimentError: One differs from the first; it is raised in all, before anything is written.
    """
    _check_same({"training data": experiment.data.train.fingerprint})


def _check_same(values: Mapping[str, Any]) -> None:
    mine = json.loads(json.dumps(values))
    theirs = broadcast_from_primary(lambda: mine)
    names = list(mine)
    different = [number for number, name in enumerate(names) if mine[name] != theirs.get(name)]
    first = allgather_rows([np.array([different[0] if different else -1])])
    for process, number in enumerate(first):
        if number >= 0:
            raise ExperimentError(
                f"process {process} has another {names[number]} than process 0: start all with the same "
                "flags and data"
            )


def has_checkpoint(config: Config) -> bool:
    """Whether a resumed run goes on from a checkpoint or fails: where there is one, it never starts anew."""
    folder = config.workdir / checkpoint.CHECKPOINTS
    found: bool = broadcast_from_primary(
        lambda: config.run.resume and folder.is_dir() and bool(complete_steps(folder))
    )
    return found


def check_resumable(config: Config) -> None:
    """Checks that there is a run to resume, and that it was begun with these settings.

    Raises:
        ConfigError: Other settings.
        ExperimentError: There is no run.
    """
    if saved_config(config.workdir) is None:
        raise ExperimentError(_why_not_resumed(config.workdir))
    check_same(config, config.workdir)


def _why_not_resumed(folder: Path) -> str:
    """Why there is no run to resume, and what to do, in one line."""
    if (folder / "config.json").exists():
        return (
            f"{folder / 'config.json'} is damaged, or of another program or version: it cannot resume a run"
        )
    if seeds := sorted(path.parent.name for path in folder.glob("*seed*/config.json")):
        return f"{folder} holds the runs {', '.join(seeds)}: repeat their command, or name one as --workdir"
    return f"no run in {folder} to resume: leave --resume out to start one"


def check_is_run(folder: Path) -> None:
    """Checks that what ``--overwrite`` deletes is a run: other programs name files like ours, too.

    Raises:
        ConfigError: It is not.
    """
    found = [name for name in OURS if (folder / name).exists()]
    if found and saved_config(folder) is None and not read_records(folder / "metrics.jsonl"):
        raise ConfigError(
            f"{folder} holds {found[0]}, which is not of a run of this program: name another --workdir, or "
            "delete it yourself"
        )
