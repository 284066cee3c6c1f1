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

_ONE = re.compile(r"stage(\d+)_block(\d+)")
_MANY = re.compile(r"stage(\d+)_blocks")


def stack_blocks(variables: Mapping[str, Any]) -> dict[str, Any]:
    """From the variables of the network written out to those with ``scan_layers``.

    Args:
        variables: ``{"params", "batch_stats"}``, or gradients, or anything else laid out like them.
    """
    return {collection: _roll(tree) for collection, tree in variables.items()}


def unstack_blocks(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Converts variables of a ``scan_layers`` network to those without it: undoes ``stack_blocks``."""
    return {collection: _unroll(tree) for collection, tree in variables.items()}


def _roll(tree: Mapping[str, Any]) -> dict[str, Any]:
    rolled: dict[str, Any] = {}
    stages: dict[str, list[tuple[int, Any]]] = {}
    for name, value in tree.items():
        match = _ONE.fullmatch(name)
        if match and int(match[2]) > 1:
            stages.setdefault(match[1], []).append((int(match[2]), value))
        else:
            rolled[name] = value
    for stage, blocks in stages.items():
        in_order = [value for _, value in sorted(blocks, key=lambda block: block[0])]
        rolled[f"stage{stage}_blocks"] = jax.tree.map(_stack, *in_order)
    return rolled


def _stack(*leaves: Any) -> Any:
    """Numpy arrays stay such, and in the memory of the host."""
    return (np if all(isinstance(leaf, np.ndarray) for leaf in leaves) else jnp).stack(leaves)


def _unroll(tree: Mapping[str, Any]) -> dict[str, Any]:
    unrolled: dict[str, Any] = {}
    for name, value in tree.items():
        match = _MANY.fullmatch(name)
        if not match:
            unrolled[name] = value
            continue
        for i in range(len(jax.tree.leaves(value)[0])):
            unrolled[f"stage{match[1]}_block{i + 2}"] = jax.tree.map(lambda leaf, i=i: leaf[i], value)
    return unrolled
