"""Writes an array to memory once on CPU, where XLA would compute it again for every use."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jax_resnet.layers.interpreters import ad, define_primitive, mlir

__all__ = ["materialize", "materialize_p"]


def materialize(y: jax.Array, like: jax.Array) -> jax.Array:
    """Returns ``y``, on CPU in a way that makes XLA compute it once.

    XLA on CPU takes additions and multiplications to be free, and repeats them in each fusion that uses
    their result. Along a chain of residuals that is everything since the stage began, in whatever order
    of memory the use needs: up to a quarter of a training step. XLA removes ``optimization_barrier``
    before it fuses. It does not remove a conditional, as long as it does not see that both branches are
    the same. On other platforms the program has no trace of this.

    Args:
        y: Array of floats.
        like: Non-empty array that is not spread over devices; its first number decides which branch runs.
    """
    return y if materialize_p is None else materialize_p.bind(y, like)


def _plain(y: jax.Array, like: jax.Array) -> jax.Array:
    return y


def _branch(y: jax.Array, like: jax.Array) -> jax.Array:
    # max(y, y - 1) == y for every y, including infinities and NaN.
    return lax.cond(like.ravel()[0] > 0, lambda y: y, lambda y: jnp.maximum(y, y - 1), y)


def _lower_cpu(ctx: Any, y: Any, like: Any) -> Any:
    return mlir.lower_fun(_branch, multiple_results=False)(ctx, y, like)


def _batch(args: Sequence[jax.Array], dims: Sequence[int | None]) -> tuple[jax.Array, int | None]:
    return materialize_p.bind(*args), dims[0]


def _differentiate(primals: Sequence[jax.Array], tangents: Sequence[Any]) -> tuple[jax.Array, Any]:
    return materialize_p.bind(*primals), tangents[0]


materialize_p = define_primitive(
    "jax_resnet_materialize",
    multiple_results=False,
    evaluate=_plain,
    abstract=lambda y, like: y.update(weak_type=False),
    batch=_batch,
    plain=_plain,
    lower_cpu=_lower_cpu,
)
if materialize_p is not None:
    ad.primitive_jvps[materialize_p] = _differentiate
