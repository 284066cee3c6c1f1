"""Single portable checkpoints, and the network in any checkpoint."""

import os
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import orbax.checkpoint as ocp
from flax import linen as nn

from jax_resnet._files import why_not_written
from jax_resnet.checkpoint import items, manifest
from jax_resnet.checkpoint.finite import check_finite
from jax_resnet.checkpoint.quiet import quiet_orbax
from jax_resnet.checkpoint.retention import best
from jax_resnet.checkpoint.steps import CHECKPOINTS, accuracy, complete_steps, remove_leftovers
from jax_resnet.checkpoint.writing import VerifiedPath, clean_up, json_text
from jax_resnet.errors import CheckpointError
from jax_resnet.models import create_model

__all__ = ["CheckpointWarning", "Restored", "restore", "save"]


class CheckpointWarning(UserWarning):
    """A checkpoint is damaged and another one was restored."""


class Restored(NamedTuple):
    """A network and its weights.

    Attributes:
        model: The network, from ``create_model``.
        variables: ``{"params", "batch_stats"}``, on this process's first device.
        config: The config it was saved with: ``config["model"]`` holds the arguments of ``create_model``;
            in a run's checkpoints ``config["data"]`` holds ``mean``, ``std``, ``class_names`` and
            ``image_shape``.
    """

    model: nn.Module
    variables: dict[str, Any]
    config: dict[str, Any]


def save(path: str | os.PathLike[str], variables: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Writes one portable checkpoint, a folder that ``restore`` opens.

    Args:
        path: The folder; it must not exist.
        variables: ``{"params", "batch_stats"}``.
        config: At least ``config["model"]``, the arguments of ``create_model``, "name" among them.

    Raises:
        NonFiniteError: The variables hold NaN or infinity.
        CheckpointError: ``path`` exists, cannot be written or is a URL, or the config names no network;
            nothing is left there then.
    """
    folder = items.local_folder(path)
    if os.path.lexists(folder):
        raise CheckpointError(f"{folder} exists already: name a new folder")
    check_finite(variables)
    json_text("config", config)
    named = config.get("model")
    if not isinstance(named, Mapping) or "name" not in named:
        raise CheckpointError('config["model"] has the arguments of create_model, {"name": NAME} at least')
    quiet_orbax()
    if folder.parent.is_dir() and jax.process_index() == 0:
        remove_leftovers(folder.parent, folder.name)  # of a save that was killed
    try:
        with ocp.Checkpointer(
            ocp.CompositeCheckpointHandler(), temporary_path_class=VerifiedPath
        ) as checkpointer:
            checkpointer.save(
                folder,
                args=ocp.args.Composite(
                    **{
                        items.STATE: ocp.args.StandardSave(dict(variables)),
                        items.CONFIG: ocp.args.JsonSave(dict(config)),
                    }
                ),
            )
    except Exception as error:  # orbax and tensorstore raise many kinds
        if folder.parent.is_dir() and jax.process_index() == 0:
            clean_up(folder.parent, folder.name)
        raise CheckpointError(f"{folder} cannot be written: {why_not_written(error)}") from error


def restore(
    path: str | os.PathLike[str],
    which: Literal["best", "last"] | int | str = "best",
    on_broken: Callable[[int, str], None] | None = None,
) -> Restored:
    """Reads a network back: on any device, without optimizer, training state or original topology.

    Example::

        >>> import jax, tempfile
        >>> from jax_resnet import checkpoint, create_model
        >>> model = create_model("resnet8", num_classes=10)
        >>> variables = model.init(jax.random.key(0), jax.numpy.zeros((1, 32, 32, 3)), train=False)
        >>> folder = tempfile.mkdtemp() + "/exported"
        >>> checkpoint.save(folder, variables, {"model": {"name": "resnet8", "num_classes": 10}})
        >>> model, variables, config = checkpoint.restore(folder)
        >>> model.apply(variables, jax.numpy.zeros((2, 32, 32, 3)), train=False).shape
        (2, 10)

    Args:
        path: A run's folder, a folder that ``save`` wrote, or the checkpoint of a step.
        which: The checkpoint of a run: "best" on the validation set (the last one, if the run had none),
            "last", or the one of a step, a number or its text.
        on_broken: Called with step and reason of each checkpoint that is passed over; without it, each is a
            ``CheckpointWarning``.

    Returns:
        The network, its variables and the run's config. If the best checkpoint is damaged, those of the
        newest one that is not. "last" or a step restores that checkpoint or none.

    Raises:
        CheckpointError: There is no checkpoint or no such step, the files are damaged, or ``path`` is a URL.
    """
    path = items.local_folder(path)
    if items.is_checkpoint(path):
        return _read(path)
    folder = path / CHECKPOINTS
    if not folder.is_dir() and path.name == CHECKPOINTS:
        folder = path
    if not folder.is_dir():
        raise CheckpointError(f"{path} holds no checkpoint: name a run's folder, or one that was exported")
    try:
        steps = complete_steps(folder)
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be read: {error.strerror}") from None
    if not steps:
        raise CheckpointError(f"{folder} holds no complete checkpoint")
    if which == "best":
        return _restore_best(folder, steps, on_broken or _warn)
    if which == "last":
        return _read(folder / str(steps[-1]))
    if str(which) not in map(str, steps):  # what a command line gives is text
        raise CheckpointError(f"{folder} has no step {which!r}: there are {', '.join(map(str, steps))}")
    return _read(folder / str(which))


def _restore_best(folder: Path, steps: list[int], on_broken: Callable[[int, str], None]) -> Restored:
    best_step, broken = _best(folder, steps)
    newest_first = [step for step in reversed(steps) if step != best_step]
    for step in ([] if best_step is None else [best_step]) + newest_first:
        if step in broken:
            continue
        try:
            restored = _read(folder / str(step))
        except CheckpointError as error:
            broken[step] = str(error)
            continue
        for passed_over, reason in sorted(broken.items()):
            on_broken(passed_over, f"{reason}; step {step} is restored")
        return restored
    raise CheckpointError(f"none of the checkpoints {steps} can be read: {broken[steps[-1]]}")


def _best(folder: Path, steps: list[int]) -> tuple[int | None, dict[int, str]]:
    """The best step, None if that is unknown, and what is wrong with steps that have no readable accuracy."""
    accuracies, broken = {}, {}
    for step in steps:
        try:
            value = accuracy(folder / str(step))
        except (CheckpointError, OSError) as error:
            broken[step] = f"the checkpoint {folder / str(step)} is damaged: {error}"
        else:
            if value is not None:
                accuracies[step] = value
    # A run keeps its last two checkpoints and the best: an older one is kept because it is the best. If none
    # of the older ones can be read, the best is lost.
    older = steps[:-2]
    lost = any(step in broken for step in older) and not any(step in accuracies for step in older)
    return None if lost else best(accuracies), broken


def _warn(step: int, reason: str) -> None:
    warnings.warn(f"checkpoint {step} is passed over: {reason}", CheckpointWarning, stacklevel=4)


def _read(folder: Path) -> Restored:
    if trouble := manifest.damage(folder):
        raise CheckpointError(f"the checkpoint {folder} is damaged: {trouble}")
    try:
        if not manifest.exists(folder) and (trouble := items.read_whole(folder)):
            raise CheckpointError(trouble)
        config = items.read_json(folder, items.CONFIG)
        variables = {"batch_stats": {}, **items.read_tree(folder, items.state_item(folder))}
    except Exception as error:  # orbax and tensorstore raise many kinds for a damaged file
        raise CheckpointError(
            f"the checkpoint {folder} cannot be read: {items.orbax_message(error)}"
        ) from error
    return Restored(_network(folder, config, variables), variables, config)


def _network(folder: Path, config: Mapping[str, Any], variables: Mapping[str, Any]) -> nn.Module:
    try:
        model = create_model(**config["model"])
        mismatch = _mismatch(model, variables["params"])
    except Exception as error:  # a config may hold anything
        raise CheckpointError(
            f"the config of {folder} describes no network: {items.orbax_message(error)}"
        ) from error
    if mismatch:
        raise CheckpointError(f"the config of {folder} describes another network: {mismatch}")
    return model


def _mismatch(model: nn.Module, params: Mapping[str, Any]) -> str:
    """How a network differs from its parameters in what can be compared without building it."""
    for option in ("stage_sizes", "widths"):
        sizes = list(getattr(model, option, ()))
        if not all(isinstance(size, int) and size > 0 for size in sizes):
            return f"its {option} are {str(sizes)[:50]}, not positive integers"
    blocks = sum(_blocks(name, value) for name, value in params.items())
    described = sum(getattr(model, "stage_sizes", ()))
    if blocks != described and (blocks or hasattr(model, "block")):
        return f"it has {described:,} residual blocks, the weights are those of {blocks:,}"
    classes = params["head"]["kernel"].shape[-1] if "kernel" in params.get("head", {}) else None
    if classes is not None and classes != getattr(model, "num_classes", classes):
        return f"it has {model.num_classes:,} classes, the weights have {classes:,}"
    return ""


def _blocks(name: str, value: Any) -> int:
    """How many residual blocks the parameters ``name`` are: ``stage1_blocks`` is several, stacked."""
    if re.fullmatch(r"stage\d+_block\d+", name):
        return 1
    if re.fullmatch(r"stage\d+_blocks", name):
        return int(jax.tree.leaves(value)[0].shape[0])
    return 0
