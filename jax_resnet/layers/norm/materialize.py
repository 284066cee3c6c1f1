"""Writes an array to memory once, where XLA would compute it again for every use."""

import jax
import jax.numpy as jnp
from jax import lax


def materialize(y: jax.Array, like: jax.Array) -> jax.Array:
    """Returns ``y``; on CPU such that XLA computes it once.

    XLA on CPU thinks of additions and multiplications as free and repeats them in each fusion that uses
    their result. Along a chain of residuals that is everything since the stage began, in whatever order
    of memory the use wants: up to a quarter of a training step. Its ``optimization_barrier`` is gone
    before it fuses. A conditional is not, as long as XLA does not see that both of its branches are
    the same.

    Args:
        y: Any array of floats.
        like: One that is not spread over devices, on whose first number it may depend which branch is taken.
    """

    def write(y: jax.Array, like: jax.Array) -> jax.Array:
        # Neither is the maximum anything but y, for infinities and what is no number neither.
        return lax.cond(like.ravel()[0] > 0, lambda y: y, lambda y: jnp.maximum(y, y - 1), y)

    return lax.platform_dependent(y, like, cpu=write, default=lambda y, like: y)
