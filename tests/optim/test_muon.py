"""Muon: orthogonal updates of kernels, SGD for the rest."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_resnet import optim

# optax's part of Muon promotes types and ranks as usual.
pytestmark = pytest.mark.usefixtures("standard_promotion")

PARAMS = {
    "conv": {"kernel": jax.random.normal(jax.random.key(0), (3, 3, 8, 16)), "bias": jnp.ones(16)},
    "blocks": {"kernel": jax.random.normal(jax.random.key(1), (4, 3, 3, 8, 8))},
    "head": {"kernel": jax.random.normal(jax.random.key(2), (16, 10))},
}
GRADIENTS = jax.tree.map(lambda p: jax.random.normal(jax.random.key(9), p.shape), PARAMS)


def stepped(tx, steps=1):
    params, state = PARAMS, tx.init(PARAMS)
    for _ in range(steps):
        updates, state = tx.update(GRADIENTS, state, params)
        params = optax.apply_updates(params, updates)
    return params


def normalized(kernel):
    norm = jnp.sqrt(jnp.sum(kernel**2, (-4, -3, -2, -1), keepdims=True))
    return kernel * jnp.sqrt(kernel.shape[-1]) / norm


@pytest.mark.parametrize("name", ["conv", "blocks"])
def test_a_kernel_is_normalized_and_moved_by_an_orthogonal_matrix(name):
    new = stepped(optim.muon(0.5, momentum=0.6, iterations=5))[name]["kernel"]
    moved = np.asarray((new - normalized(PARAMS[name]["kernel"])) / -0.5)
    matrices = moved.reshape(-1, np.prod(moved.shape[-4:-1]), moved.shape[-1])
    values = np.linalg.svd(matrices, compute_uv=False)
    assert values.min() > 0.6
    assert values.max() < 1.3  # the iteration's polynomial ends in this range, not at 1
    gradients = np.asarray(GRADIENTS[name]["kernel"]).reshape(matrices.shape)
    for matrix, gradient in zip(matrices, gradients, strict=True):
        left, _, right = np.linalg.svd(gradient, full_matrices=False)
        cosine = (matrix * (left @ right)).sum() / np.linalg.norm(matrix) / np.linalg.norm(left @ right)
        assert cosine > 0.95


def test_all_else_is_sgds():
    sgd = stepped(optim.sgd(0.1, momentum=0.6, nesterov=True, weight_decay=1e-2), 3)
    muon = stepped(optim.muon(0.1, momentum=0.6, nesterov=True, weight_decay=1e-2), 3)
    np.testing.assert_allclose(muon["head"]["kernel"], sgd["head"]["kernel"], rtol=1e-6)
    np.testing.assert_allclose(muon["conv"]["bias"], sgd["conv"]["bias"], rtol=1e-6)


def test_it_goes_with_groups_and_frozen_parameters():
    tx = optax.chain(optim.muon(0.1), optim.scale_by_group({"head": 2.0}))
    new = stepped(optim.freeze(tx, "conv/kernel"))
    np.testing.assert_array_equal(new["conv"]["kernel"], PARAMS["conv"]["kernel"])
    assert not np.array_equal(new["conv"]["bias"], PARAMS["conv"]["bias"])
    once, twice = (
        np.asarray(run["head"]["kernel"] - PARAMS["head"]["kernel"])
        for run in (stepped(optim.muon(0.1)), new)
    )
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("factor", [0.1, 4.0])
def test_what_scales_updates_leaves_the_norm_alone(factor):
    tx = optim.then_normalize(
        optax.chain(optim.muon(0.01, normalize=False), optim.scale_by_group({"conv": factor}))
    )
    expected = optax.chain(optim.muon(0.01 * factor))
    for steps in (1, 12):
        found = stepped(tx, steps)["conv"]["kernel"]
        np.testing.assert_allclose(found, stepped(expected, steps)["conv"]["kernel"], rtol=1e-4, atol=1e-6)


def test_its_state_is_that_of_earlier_checkpoints():
    paths = {
        jax.tree_util.keystr(path)
        for path, _ in jax.tree_util.tree_leaves_with_path(
            optim.muon(0.1).init(PARAMS), is_leaf=lambda x: isinstance(x, optax.EmptyState)
        )
    }
    assert ".inner_states['kernels'].inner_state[2]" in paths
    assert not [path for path in paths if not path.startswith(".inner_states")]
