"""Single portable checkpoints, and the network in any checkpoint."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import orbax.checkpoint as ocp
from flax import linen as nn

from jax_resnet.checkpoint import manifest
from jax_resnet.checkpoint.steps import CHECKPOINTS, complete_steps, orbax_message, rank
from jax_resnet.errors import CheckpointError
from jax_resnet.models import create_model


class Restored(NamedTuple):
    """A network and its weights.

    Attributes:
        model: As ``create_model`` made it.
        variables: ``{"params", "batch_stats"}``, on this process's first device.
        config: Everything the run was told, among it ``config["model"]``, the arguments of
            ``create_model``, and ``config["data"]``: ``mean``, ``std``, ``class_names``, ``image_shape``.
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
        CheckpointError: ``path`` exists.
    """
    folder = Path(path).absolute()
    if folder.exists():
        raise CheckpointError(f"{folder} exists already: name a new folder")
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        checkpointer.save(
            folder,
            args=ocp.args.Composite(
                variables=ocp.args.StandardSave(dict(variables)), config=ocp.args.JsonSave(dict(config))
            ),
        )
    manifest.write(folder)


def restore(path: str | os.PathLike[str], which: Literal["best", "last"] | int = "best") -> Restored:
    """Reads a network back: on any device, without optimizer, training state or original topology.

    Args:
        path: A run's folder, or a folder that ``save`` wrote.
        which: Of a run's checkpoints: the best on the validation set (the last, where the run had none),
            the last, or the one of a step.

    Returns:
        The network, its variables and the run's config.

    Raises:
        CheckpointError: Nothing to read there, no such step, or a damaged file.
    """
    folder = _choose(Path(path).absolute(), which)
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    if trouble := manifest.damage(folder):
        raise CheckpointError(f"the checkpoint {folder} is damaged: {trouble}")
    try:
        config = ocp.JsonCheckpointHandler().restore(folder / "config")
        # Asked of the handler: a Checkpointer warns that an item is no whole checkpoint.
        written = ocp.StandardCheckpointHandler().metadata(folder / "variables").tree
        with ocp.StandardCheckpointer() as reader:
            like = jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), written
            )
            variables = reader.restore(folder / "variables", like)
    except Exception as error:  # orbax and tensorstore raise many kinds for a damaged file
        raise CheckpointError(f"the checkpoint {folder} cannot be read: {orbax_message(error)}") from error
    return Restored(create_model(**config["model"]), {"batch_stats": {}, **variables}, config)


def _choose(path: Path, which: Literal["best", "last"] | int) -> Path:
    if (path / "variables").is_dir():
        return path
    folder = path if path.name == CHECKPOINTS else path / CHECKPOINTS
    if not folder.is_dir():
        raise CheckpointError(f"{path} holds no checkpoint: name a run's folder, or one that was exported")
    steps = complete_steps(folder)
    if not steps:
        raise CheckpointError(f"{folder} holds no complete checkpoint")
    if which == "best":
        metrics = {step: folder / str(step) / "metrics" / "metrics" for step in steps}
        ranks = {step: rank(json.loads(file.read_text())) for step, file in metrics.items() if file.exists()}
        return folder / str(max(ranks, key=ranks.__getitem__) if ranks else steps[-1])
    if which == "last":
        return folder / str(steps[-1])
    if which not in steps:
        raise CheckpointError(f"{folder} has no step {which!r}: there are {', '.join(map(str, steps))}")
    return folder / str(which)
