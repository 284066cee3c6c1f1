"""Weights from anywhere: a run, an exported checkpoint, a PyTorch or safetensors file."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from experiments.program.errors import ConfigError
from jax_resnet import checkpoint
from jax_resnet.convert import count_classes, from_torch
from jax_resnet.convert.files import read_state_dict

HEAD = "head"


def read_variables(path: str, model: nn.Module) -> dict[str, Any]:
    """The variables in a file or folder, as ``model`` lays them out.

    Args:
        path: A run's folder (its best checkpoint is taken), an exported checkpoint, or a file of PyTorch's
            or safetensors.
        model: The network; where the class count differs, the file's head is returned as it is.

    Raises:
        ConfigError: The file is not there, or does not fit the network.
        jax_resnet.checkpoint.CheckpointError: The checkpoint cannot be read.
    """
    if Path(path).is_dir():
        return checkpoint.restore(path).variables
    try:
        state_dict = read_state_dict(path)
    except (ValueError, OSError, ImportError) as error:
        raise ConfigError(str(error)) from None
    try:
        return from_torch(state_dict, model.clone(num_classes=count_classes(state_dict, model)))
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None


def initialize_from(path: str, model: nn.Module, fresh: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """Variables to fine-tune from: the file's, with a fresh head where the number of classes differs.

    Args:
        path: See ``read_variables``.
        model: The network to train.
        fresh: Its initial variables.

    Returns:
        The variables, and whether the head is a fresh one.

    Raises:
        ConfigError: Anything but the head is missing, unexpected or of another shape.
    """
    found = flatten_dict(read_variables(path, model), sep="/")
    wanted = flatten_dict(fresh, sep="/")
    head = {name for name in wanted if name.split("/")[1] == HEAD}
    new_head = any(name not in found or found[name].shape != wanted[name].shape for name in head)
    merged = {}
    for name, value in wanted.items():
        if new_head and name in head:
            merged[name] = value
        elif name not in found:
            raise ConfigError(f"--init-from {path} has no {name}: it is another network's")
        elif found[name].shape != value.shape:
            raise ConfigError(
                f"--init-from {path}: {name} has shape {found[name].shape}, the network's is {value.shape}"
            )
        else:
            merged[name] = jax.numpy.asarray(np.asarray(found[name]), value.dtype)
    if extra := sorted(set(found) - set(wanted) - head):
        raise ConfigError(f"--init-from {path} has {extra[0]}, which the network has not: it is another's")
    return {"batch_stats": {}, **unflatten_dict(merged, sep="/")}, new_head
