"""Max-pooling by 2 against Flax's, its gradient included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jax_resnet.layers.pool import max_pool_2x2


def reference(x):
    return nn.max_pool(x, (2, 2), (2, 2))


@pytest.mark.parametrize("shape", [(2, 4, 4, 3), (2, 5, 7, 3), (1, 2, 3, 1), (0, 4, 4, 2)])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_values_and_gradients_are_flaxs_with_ties_too(shape, dtype):
    x = jnp.round(2 * jax.random.normal(jax.random.key(0), shape)).astype(dtype)  # many equal pixels
    np.testing.assert_array_equal(max_pool_2x2(x), reference(x))
    weights = jax.random.normal(jax.random.key(1), reference(x).shape).astype(dtype)
    ours, theirs = (jax.grad(lambda x, f=f: (f(x) * weights).sum())(x) for f in (max_pool_2x2, reference))
    assert ours.dtype == dtype
    np.testing.assert_array_equal(ours, theirs)


def test_vmap_and_forward_over_reverse():
    x = jax.random.normal(jax.random.key(0), (3, 2, 5, 5, 2))
    np.testing.assert_array_equal(jax.vmap(max_pool_2x2)(x), jax.vmap(reference)(x))

    def loss(f, x):
        return (f(x) ** 3).sum()

    ours, theirs = (
        jax.jvp(jax.grad(lambda x, f=f: loss(f, x)), (x[0],), (x[1],))[1] for f in (max_pool_2x2, reference)
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
