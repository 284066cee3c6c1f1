"""The step folders of a run: which are complete, what was left behind, which is the best."""

import contextlib
import itertools
import math
import os
import shutil
from pathlib import Path

import orbax.checkpoint as ocp

from jax_resnet.checkpoint import items, manifest
from jax_resnet.errors import CheckpointError

__all__ = [
    "CHECKPOINTS",
    "TRASH",
    "accuracies",
    "accuracy",
    "complete_steps",
    "empty_trash",
    "remove_leftovers",
    "set_aside",
]

CHECKPOINTS = "checkpoints"
"""Name of the folder inside a run's folder that holds the checkpoints."""

_TRASH = "deleted"
TRASH = f"{_TRASH}{ocp.path.atomicity_types.TMP_DIR_SUFFIX}"
"""Folder that checkpoints are moved to before their files are deleted: a kill leaves no half of one behind.

It has the name of a leftover, and a killed run's is removed as one.
"""


def complete_steps(folder: Path) -> list[int]:
    """Steps of the checkpoints in ``folder`` that were written to the end, ascending."""
    steps = [entry for entry in folder.iterdir() if _is_step(entry.name)]
    return sorted(int(entry.name) for entry in steps if ocp.utils.is_checkpoint_finalized(entry))


def remove_leftovers(folder: Path, name: str = "") -> bool:
    """Removes what killed or failed saves left in ``folder``, of the checkpoint ``name`` or of all.

    Returns:
        Whether there was anything to remove.
    """
    suffix = ocp.path.atomicity_types.TMP_DIR_SUFFIX
    removed = False
    for entry in folder.glob("*"):
        before, found, _ = entry.name.partition(suffix)
        if found and (not name or before == name) and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
            removed = True
    return removed


def empty_trash(folder: Path) -> None:
    """Deletes the files of the checkpoints that were moved out of the way."""
    remove_leftovers(folder, _TRASH)


def set_aside(folder: Path, step: int) -> None:
    """Renames the checkpoint of a step to ``STEP.unreadable``, or the first such name that is free.

    Raises:
        OSError: It cannot be renamed.
    """
    name = f"{step}.unreadable"
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    free = next(name for name in names if not os.path.lexists(folder / name))
    (folder / str(step)).rename(folder / free)


def accuracy(folder: Path) -> float | None:
    """The validation accuracy of a checkpoint; None if it was saved without one.

    Raises:
        CheckpointError: It was saved with one, which cannot be read.
    """
    if trouble := manifest.damage(folder, under=f"{items.METRICS}/"):
        raise CheckpointError(trouble)
    if not (folder / items.METRICS).exists():
        return None
    value = items.read_json(folder, items.METRICS).get("accuracy")
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise CheckpointError(f"{items.METRICS} holds no accuracy")
    return float(value)


def accuracies(folder: Path) -> dict[int, float]:
    """The validation accuracies of a run's complete checkpoints, by step, as far as they can be read."""
    found = {}
    for step in complete_steps(folder):
        with contextlib.suppress(CheckpointError):
            if (value := accuracy(folder / str(step))) is not None:
                found[step] = value
    return found


def _is_step(name: str) -> bool:
    return name.isascii() and name.isdecimal() and str(int(name)) == name
