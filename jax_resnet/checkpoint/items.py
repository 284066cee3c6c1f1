"""The parts of a checkpoint, each a folder of its own, and how to read them."""

import json
import os
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from jax_resnet._files import local_path
from jax_resnet._text import first_line
from jax_resnet.checkpoint.quiet import quiet_orbax
from jax_resnet.errors import CheckpointError

__all__ = [
    "CONFIG",
    "DATA",
    "METRICS",
    "STATE",
    "TRAINING",
    "custom_metadata",
    "is_checkpoint",
    "local_folder",
    "orbax_message",
    "read_json",
    "read_tree",
    "read_whole",
    "state_item",
]

STATE = "state"
"""The weights. orbax's ``v1.load(path)`` takes the item of this name before any other."""

TRAINING, CONFIG, DATA, METRICS = "training", "config", "data", "metrics"

_STATE_BEFORE = "variables"  # what ``state`` was called in the first checkpoints
_METADATA = "_CHECKPOINT_METADATA"


def local_folder(path: str | os.PathLike[str]) -> Path:
    """The absolute path of a run or a checkpoint.

    Raises:
        CheckpointError: It is a URL, or in a home folder that is not known.
    """
    return local_path(path, CheckpointError)


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder is one checkpoint of orbax, be it a damaged one, and not a run's folder."""
    return (folder / _METADATA).exists() or (folder / state_item(folder)).is_dir()


def state_item(folder: Path) -> str:
    """The name of the weights' item in a checkpoint of any age."""
    return _STATE_BEFORE if (folder / _STATE_BEFORE).is_dir() else STATE


def read_json(folder: Path, item: str) -> dict[str, Any]:
    """Reads an item of JSON.

    Raises:
        CheckpointError: It is missing, not JSON, or no JSON object.
    """
    name = f"{item}/{'metrics' if item == METRICS else 'metadata'}"
    return _read_object(folder, name)


def custom_metadata(folder: Path) -> dict[str, Any]:
    """What a checkpoint's writer noted in orbax's own metadata; empty for checkpoints without notes.

    Raises:
        CheckpointError: orbax's metadata is missing or not a JSON object.
    """
    notes = _read_object(folder, _METADATA).get("custom_metadata")
    return notes if isinstance(notes, dict) else {}


def read_tree(folder: Path, item: str) -> Any:
    """Reads an item of arrays, all of them, to this process's first device.

    Raises:
        Exception: What orbax and tensorstore raise for damaged files, which is of many kinds.
    """
    quiet_orbax()
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    # The handler is asked: a Checkpointer warns that an item is no whole checkpoint.
    written = ocp.StandardCheckpointHandler().metadata(folder / item).tree
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), written)
    with ocp.StandardCheckpointer() as reader:
        return reader.restore(folder / item, like)


def read_whole(folder: Path) -> str:
    """Reads every item of a checkpoint; returns what is wrong, empty if nothing is."""
    try:
        for item in (CONFIG, DATA, METRICS):
            if item == CONFIG or (folder / item).exists():
                read_json(folder, item)
        for item in (state_item(folder), TRAINING):
            if item != TRAINING or (folder / item).exists():
                jax.block_until_ready(read_tree(folder, item))
        _read_object(folder, _METADATA)
    except Exception as error:  # orbax and tensorstore raise many kinds
        return orbax_message(error)
    return ""


def orbax_message(error: Exception) -> str:
    """The first line of an error of ours, or of orbax's or tensorstore's with its class."""
    text = first_line(error)
    return text if isinstance(error, CheckpointError) else f"{type(error).__name__}: {text}"[:300]


def _read_object(folder: Path, name: str) -> dict[str, Any]:
    file = folder / name
    try:
        if not file.is_file():
            raise CheckpointError(f"{name} is missing")
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{name} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise CheckpointError(f"{name} is not JSON") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{name} is not a JSON object")
    return content
