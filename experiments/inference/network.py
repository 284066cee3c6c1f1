"""Weights from anywhere: a run, an exported checkpoint, a PyTorch or safetensors file, the package."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from experiments.inference.names import check_exists, is_pretrained, say_if_hidden
from experiments.program.errors import ConfigError
from jax_resnet import checkpoint
from jax_resnet.convert import count_classes, from_torch, read_weights
from jax_resnet.errors import WeightsError
from jax_resnet.models import stack_blocks, unstack_blocks
from jax_resnet.pretrained import load_pretrained

__all__ = ["count_outputs", "initialize_from", "read_variables"]

HEAD = "head"


def _silent(line: str) -> None:
    pass


def read_variables(path: str, model: nn.Module, say: Callable[[str], None] = _silent) -> dict[str, Any]:
    """Reads the variables in a file or folder, in the layout of ``model``.

    Args:
        path: A run's folder (its best checkpoint is taken), an exported checkpoint, a file of PyTorch's
            or safetensors, or the name of pretrained weights.
        model: The network; where the file's class count differs, its head is returned as it is
            (``count_outputs`` counts).
        say: Called with a line for people where a file holds several networks: which one was taken.

    Raises:
        ConfigError: The file is not there, or does not fit the network.
        jax_resnet.checkpoint.CheckpointError: The checkpoint cannot be read.
        jax_resnet.errors.WeightsError: The pretrained weights are damaged.
    """
    if is_pretrained(path):
        return _in_layout(load_pretrained(path).variables, model)
    if Path(path).is_dir():
        return _in_layout(checkpoint.restore(path).variables, model)
    try:
        weights = read_weights(path)
    except (WeightsError, OSError, ImportError) as error:
        raise ConfigError(str(error)) from None
    if weights.choice:
        say(f"{path}: {weights.choice}")
    try:
        classes = count_classes(weights.state_dict, model)
        return from_torch(weights.state_dict, model.clone(num_classes=classes))
    except WeightsError as error:
        raise ConfigError(f"{path}: {error}") from None


def count_outputs(variables: dict[str, Any]) -> int | None:
    """Outputs of the head in a network's variables; None where there is no head."""
    head = variables["params"].get(HEAD)
    return None if head is None else int(head["kernel"].shape[-1])


def initialize_from(
    path: str, model: nn.Module, fresh: dict[str, Any], say: Callable[[str], None] = _silent
) -> dict[str, Any]:
    """Reads variables to fine-tune from, with the fresh head where the number of classes differs.

    Args:
        path: See ``read_variables``.
        model: The network to train.
        fresh: Its initial variables.
        say: See ``read_variables``; also called where the head is the fresh one.

    Raises:
        ConfigError: Anything but the head is missing, unexpected or of another shape.
        jax_resnet.checkpoint.CheckpointError: The checkpoint cannot be read.
        jax_resnet.errors.WeightsError: The pretrained weights are damaged.
    """
    check_exists(path, "--init-from ")
    say_if_hidden(path, say)
    found = flatten_dict(unstack_blocks(read_variables(path, model, say)), sep="/")
    wanted = flatten_dict(unstack_blocks(fresh), sep="/")
    head = {name for name in wanted if name.split("/")[1] == HEAD}
    new_head = any(name not in found or found[name].shape != wanted[name].shape for name in head)
    if new_head:
        say(f"{path} has another number of classes: the head starts anew")
    merged = {}
    for name, value in wanted.items():
        if new_head and name in head:
            merged[name] = value
        elif name not in found:
            raise ConfigError(f"--init-from {path} has no {name}: it is another network's")
        elif found[name].shape != value.shape:
            raise ConfigError(
                f"--init-from {path}: {_describe_shape(name, found[name].shape, value.shape, model)}"
            )
        else:
            merged[name] = jax.numpy.asarray(np.asarray(found[name]), value.dtype)
    if extra := sorted(set(found) - set(wanted) - head):
        raise ConfigError(f"--init-from {path} has {extra[0]}, which the network does not have")
    return _in_layout({"batch_stats": {}, **unflatten_dict(merged, sep="/")}, model)


def _describe_shape(name: str, found: tuple[int, ...], wanted: tuple[int, ...], model: Any) -> str:
    stem = name.split("/")[1] == model.first_conv and len(found) == len(wanted) == 4
    if stem and found[2] != wanted[2] and (*found[:2], found[3]) == (*wanted[:2], wanted[3]):
        return (
            f"the weights are for images of {found[2]} channels, the data has {wanted[2]}: "
            f"python -m jax_resnet.convert ... --in-channels {wanted[2]} writes weights for these"
        )
    return f"{name} has shape {found}, the network's is {wanted}"


def _in_layout(variables: dict[str, Any], model: nn.Module) -> dict[str, Any]:
    """The same numbers with equal blocks stacked where ``model`` runs them in a loop."""
    plain = unstack_blocks(variables)
    return stack_blocks(plain) if getattr(model, "scan_layers", False) else plain
