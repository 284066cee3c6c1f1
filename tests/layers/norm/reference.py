"""What batch normalization is, in a few lines of JAX, and arguments to try it with."""

import jax
import jax.numpy as jnp
import numpy as np


def simple(x, scale, bias, residual, epsilon, relu):
    """The formula of the paper, left to JAX's own differentiation."""
    axes = tuple(range(x.ndim - 1))
    mean, var = jnp.mean(x, axes), jnp.var(x, axes)
    y = (x - mean) / jnp.sqrt(var + epsilon) * scale + bias
    y = y if residual is None else y + residual
    return jax.nn.relu(y) if relu else y, mean, var


def arguments(shape, dtype, with_residual=True, seed=0):
    random = np.random.default_rng(seed)
    x, residual = (random.standard_normal(shape) * 2 + 1 for _ in range(2))
    scale, bias = random.standard_normal((2, shape[-1]))
    return jax.tree.map(
        lambda v: jnp.asarray(v, dtype), (x, scale, bias, residual if with_residual else None)
    )


def assert_same(actual, expected, tolerance=1e-9):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), actual, expected
    )
