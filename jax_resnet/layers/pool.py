"""Max-pooling by 2, with a backward pass that is fast on CPU."""

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["average_pool", "max_pool_2x2"]


def average_pool(x: jax.Array, size: int) -> jax.Array:
    """The mean of every ``size`` x ``size`` pixels, ``(N, H, W, C)``, of fewer where the image ends.

    What ``flax.linen.avg_pool`` computes with "SAME" padding that is not counted; without promotion of types,
    which its counts need.
    """

    def add(values: jax.Array) -> jax.Array:
        window = (1, size, size, 1)
        zero = np.zeros((), values.dtype)  # JAX differentiates a sum over windows only from a known zero
        return jax.lax.reduce_window(values, zero, jax.lax.add, window, window, "SAME")

    return add(x) / add(jnp.ones((1, *x.shape[1:3], 1), x.dtype))


@jax.custom_vjp
def max_pool_2x2(x: jax.Array) -> jax.Array:
    """The largest of every 2x2 pixels, ``(N, H, W, C)`` to ``(N, H // 2, W // 2, C)``.

    What ``flax.linen.max_pool(x, (2, 2), (2, 2))`` computes, and its gradient, which goes to the first of
    equal pixels, as in PyTorch. XLA's own gradient of a max-pool takes ten times as long on CPU. Derivatives
    are in reverse mode, and forward over reverse; ``jax.jvp`` of the function itself is an error.
    """
    return _largest(x)


def _largest(x: jax.Array) -> jax.Array:
    first, second, third, fourth = _corners(x)
    return jnp.maximum(jnp.maximum(first, second), jnp.maximum(third, fourth))


def _corners(x: jax.Array) -> tuple[jax.Array, ...]:
    """The four pixels of every window, in rows."""
    height, width = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2

    def corner(row: int, column: int) -> jax.Array:
        rows = jax.lax.slice_in_dim(x, row, height, 2, axis=1)  # x[:, row:height:2] may become a gather
        return jax.lax.slice_in_dim(rows, column, width, 2, axis=2)

    return corner(0, 0), corner(0, 1), corner(1, 0), corner(1, 1)


def _forward(x: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    y = _largest(x)
    first, second, third, _ = _corners(x)
    where = jnp.where(first == y, 0, jnp.where(second == y, 1, jnp.where(third == y, 2, 3)))
    # An empty array carries the input's odd rows and columns, which no window covers.
    return y, (where.astype(jnp.uint8), jnp.zeros((0, *x.shape[1:3])))


def _backward(saved: tuple[jax.Array, jax.Array], ct: jax.Array) -> tuple[jax.Array]:
    where, like = saved
    n, height, width, channels = ct.shape
    shape = (n, height, 2, width, 2, channels)
    row, column = (jax.lax.broadcasted_iota(jnp.uint8, shape, axis) for axis in (2, 4))
    chosen = where[:, :, None, :, None] == 2 * row + column
    ct_x = jnp.where(chosen, ct[:, :, None, :, None], jnp.zeros((), ct.dtype))
    ct_x = ct_x.reshape(n, 2 * height, 2 * width, channels)
    rest = ((0, like.shape[1] - 2 * height), (0, like.shape[2] - 2 * width))
    return (jnp.pad(ct_x, ((0, 0), *rest, (0, 0))),)


max_pool_2x2.defvjp(_forward, _backward)
