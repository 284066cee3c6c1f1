"""A factor of the learning rate in the optimizer's state."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_resnet import optim
from jax_resnet.errors import TrainError

PARAMS = {"stem": jnp.asarray([1.0, -2.0]), "head": jnp.asarray([0.5])}
GRADS = {"stem": jnp.asarray([0.3, 0.1]), "head": jnp.asarray([-1.0])}


def three_steps(tx, factor):
    state, params = tx.init(PARAMS), PARAMS
    if factor != 1:
        state = optim.with_rate_factor(state, factor)
    for _ in range(3):
        updates, state = tx.update(GRADS, state, params)
        params = optax.apply_updates(params, updates)
    return params


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize(
    "make",
    [
        lambda rate: optim.sgd(rate, momentum=0.9, nesterov=True, weight_decay=0.1),
        lambda rate: optim.adam(optim.piecewise(rate, []), weight_decay=0.1, decoupled=True),
        lambda rate: optim.adam(optim.piecewise(rate, []), weight_decay=0.1, decoupled=False),
    ],
)
def test_the_factor_is_one_of_the_learning_rate(make):
    scaled = optax.chain(make(0.2), optim.scale_by_rate_factor())
    for factor in (1.0, 0.5, 0.125):
        expected = three_steps(make(0.2 * factor), 1)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), three_steps(scaled, factor), expected
        )


def test_the_factor_is_found_in_the_state_of_any_optimizer():
    tx = optim.freeze(optax.chain(optim.sgd(0.1), optim.scale_by_rate_factor()), "stem")
    state = tx.init(PARAMS)
    assert optim.rate_factor(state) == 1
    lowered = optim.with_rate_factor(state, 0.25)
    assert optim.rate_factor(lowered) == 0.25
    assert jax.tree.structure(lowered) == jax.tree.structure(state)


def test_a_state_without_a_factor_has_1_and_takes_no_other():
    state = optim.sgd(0.1).init(PARAMS)
    assert optim.rate_factor(state) == 1
    with pytest.raises(TrainError, match="no rate_factor"):
        optim.with_rate_factor(state, 0.5)


def test_several_factors_are_set_together():
    tx = optax.chain(optim.scale_by_rate_factor(), optim.scale_by_rate_factor())
    state = optim.with_rate_factor(tx.init(jnp.zeros(3)), 0.5)
    assert optim.rate_factor(state) == 0.5
    # Donated, as training steps are: no array may be in it twice.
    updates, _ = jax.jit(tx.update, donate_argnums=1)(jnp.ones(3), state)
    np.testing.assert_array_equal(updates, 0.25)
