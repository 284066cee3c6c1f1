"""The pairs of sums, under every transformation of JAX."""

import jax
import jax.numpy as jnp

from jax_resnet.layers.norm.reductions import pair_broadcast, pair_sum
from tests.layers.norm.reference import assert_same


def test_pairs_of_sums_work_under_every_transformation():
    a, b = (jax.random.normal(jax.random.key(i), (3, 4, 2)) for i in range(2))
    expected = [a.sum((0, 1)), b.sum((0, 1))]
    assert_same(pair_sum(a, b), expected, 1e-5)
    assert_same(jax.jvp(pair_sum, (a, b), (b, a))[1], expected[::-1], 1e-5)
    assert_same(jax.vmap(pair_sum, (None, 0))(a, jnp.stack([b, a]))[1][1], expected[0], 1e-5)
    assert_same(jax.grad(lambda a: pair_sum(a, b)[0].sum())(a), jnp.ones_like(a))
    wide = jax.vmap(lambda v, w: pair_broadcast(v, w, like=a), (0, None))(jnp.eye(2), jnp.ones(2))
    assert_same([v[1, 2, 3] for v in wide], [jnp.array([0.0, 1.0]), jnp.ones(2)])
