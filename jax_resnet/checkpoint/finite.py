"""Whether a state is finite: a checkpoint with NaN or infinity in it would be of no use."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_resnet.errors import CheckpointError

__all__ = ["NonFiniteError", "check_finite"]


class NonFiniteError(CheckpointError):
    """A state that is not saved because it holds NaN or infinity.

    Attributes:
        leaf: The first array that does, as ``"params/stem/conv/kernel"``.
        step: The state's step; None for a single checkpoint of weights.
    """

    def __init__(self, leaf: str, step: int | None = None) -> None:
        self.leaf, self.step = leaf, step
        of = "" if step is None else f" of step {step}"
        super().__init__(f"the state{of} is not saved: {leaf} holds NaN or infinity")


def check_finite(tree: Mapping[str, Any], step: int | None = None) -> None:
    """Checks every floating-point array of a tree of dicts.

    Raises:
        NonFiniteError: One holds NaN or infinity.
    """
    named = [(path, leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree) if _is_float(leaf)]
    if not named:
        return
    finite = np.asarray(_all_finite([leaf for _, leaf in named]))
    if not finite.all():
        path, _ = named[int(np.argmin(finite))]
        raise NonFiniteError(jax.tree_util.keystr(path, simple=True, separator="/"), step)


def _is_float(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)


@jax.jit
def _all_finite(leaves: list[jax.Array]) -> jax.Array:
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves])
