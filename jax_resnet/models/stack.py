"""Variables of a network whose equal blocks run in a loop, and of the same network written out.

With ``scan_layers`` the blocks of a stage but the first are one block whose parameters have a leading axis:
``stage1_block2``, ``stage1_block3``, ... become ``stage1_blocks``. The numbers are the same.
"""

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["stack_blocks", "unstack_blocks"]

_ONE = re.compile(r"stage(\d+)_block(\d+)")
_MANY = re.compile(r"stage(\d+)_blocks")


def stack_blocks(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Converts variables of a network written out to those of the same network with ``scan_layers``.

    Args:
        variables: ``{"params", "batch_stats"}``, or gradients, or anything else laid out like them.
    """
    return {collection: _stack(tree) for collection, tree in variables.items()}


def unstack_blocks(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Converts variables of a ``scan_layers`` network to those without it: undoes ``stack_blocks``."""
    return {collection: _unstack(tree) for collection, tree in variables.items()}


def _stack(tree: Mapping[str, Any]) -> dict[str, Any]:
    stacked: dict[str, Any] = {}
    stages: dict[str, list[tuple[int, Any]]] = {}
    for name, value in tree.items():
        match = _ONE.fullmatch(name)
        if match and int(match[2]) > 1:
            stages.setdefault(match[1], []).append((int(match[2]), value))
        else:
            stacked[name] = value
    for stage, blocks in stages.items():
        in_order = [value for _, value in sorted(blocks, key=lambda block: block[0])]
        stacked[f"stage{stage}_blocks"] = jax.tree.map(_stack_leaves, *in_order)
    return stacked


def _stack_leaves(*leaves: Any) -> Any:
    """NumPy arrays stay NumPy arrays, in the memory of the host."""
    return (np if all(isinstance(leaf, np.ndarray) for leaf in leaves) else jnp).stack(leaves)


def _unstack(tree: Mapping[str, Any]) -> dict[str, Any]:
    written_out: dict[str, Any] = {}
    for name, value in tree.items():
        match = _MANY.fullmatch(name)
        if not match:
            written_out[name] = value
            continue
        for i in range(len(jax.tree.leaves(value)[0])):
            written_out[f"stage{match[1]}_block{i + 2}"] = jax.tree.map(lambda leaf, i=i: leaf[i], value)
    return written_out
