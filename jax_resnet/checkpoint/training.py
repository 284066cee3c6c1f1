"""The part of a checkpoint that only training needs: optimizer, step and random key."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from jax_resnet.checkpoint import items
from jax_resnet.errors import CheckpointError
from jax_resnet.train import TrainState

__all__ = ["notes", "pack", "restore"]

_KEY = "random_key"


def pack(state: TrainState) -> dict[str, Any]:
    """The arrays of the item ``training``; ``restore`` undoes it."""
    content = {"step": state.step, "opt_state": state.opt_state, "key": jax.random.key_data(state.key)}
    return content if state.average is None else {**content, "moving": state.variables}


def notes(state: TrainState) -> dict[str, Any]:
    """What is noted in orbax's own metadata: how the key's numbers are to be read."""
    return {_KEY: str(jax.random.key_impl(state.key)) if _is_typed(state.key) else "raw"}


def restore(folder: Path, like: TrainState) -> TrainState:
    """Reads a whole training state.

    Args:
        folder: The checkpoint of a step.
        like: A state of the same network and optimizer; the result has its shardings. The random key keeps
            the implementation that it was saved with.

    Raises:
        Exception: What orbax and tensorstore raise for files that are damaged or of another network.
    """
    implementation = _implementation(folder, like)
    wanted = pack(like)
    if implementation != "raw":
        wanted["key"] = _abstract_key(implementation, wanted["key"])
    weights = items.state_item(folder)
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as reader:
        read = reader.restore(
            folder,
            args=ocp.args.Composite(
                **{
                    weights: ocp.args.StandardRestore(like.eval_variables),
                    items.TRAINING: ocp.args.StandardRestore(wanted),
                }
            ),
        )
    content = dict(read[items.TRAINING])
    key = content.pop("key")
    if implementation != "raw":
        key = jax.random.wrap_key_data(key, impl=implementation)
    if like.average is None:
        return like.replace(**read[weights], **content, key=key)
    return like.replace(average=read[weights], **content.pop("moving"), **content, key=key)


def _is_typed(key: Any) -> bool:
    return jnp.issubdtype(key.dtype, jax.dtypes.prng_key)


def _implementation(folder: Path, like: TrainState) -> str:
    """The name of the key's implementation; checkpoints of before it was noted have the one of ``like``."""
    default = notes(like)[_KEY]
    noted = items.custom_metadata(folder).get(_KEY, default)
    if not isinstance(noted, str):
        raise CheckpointError(f"the random key's implementation is {noted!r}, which is no name")
    return noted


def _abstract_key(implementation: str, data: jax.Array) -> jax.ShapeDtypeStruct:
    """The shape of a key's numbers, placed as ``data`` is."""
    shape = jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0, impl=implementation))).shape
    return jax.ShapeDtypeStruct(shape, np.uint32, sharding=data.sharding)
