"""Groups of parameters by name: weight decay, freezing, learning rates."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.traverse_util import flatten_dict

from jax_resnet import optim
from jax_resnet.errors import TrainError
from jax_resnet.models import create_model, stack_blocks

PARAMS = {
    "stem_conv": {"kernel": jnp.ones((3, 3, 3, 4))},
    "stage1_block1": {"conv1": {"kernel": jnp.ones((3, 3, 4, 4))}, "norm1": {"scale": jnp.ones(4)}},
    "stage10_block1": {"conv1": {"kernel": jnp.ones((3, 3, 4, 4)), "bias": jnp.ones(4)}},
    "head": {"kernel": jnp.ones((4, 2)), "bias": jnp.ones(2)},
}


def chosen(tree):
    return {"/".join(path) for path, value in flatten_dict(tree).items() if value}


def test_decay_mask_leaves_out_batch_norm_and_biases():
    params = {"conv": {"kernel": jnp.ones((3, 3, 1, 1))}, "norm": {"scale": jnp.ones(4), "bias": jnp.ones(4)}}
    assert optim.decay_mask(params) == {"conv": {"kernel": True}, "norm": {"scale": False, "bias": False}}


@pytest.mark.parametrize("name", ["resnet20", "preact_resnet20", "seminar_resnet"])
@pytest.mark.slow
def test_decay_mask_of_a_looped_network_is_that_of_the_network_written_out(name):
    options = {"stage_sizes": (3, 3), "widths": (4, 8)}
    images = jnp.zeros((1, 8, 8, 3))

    def mask(**more):
        model = create_model(name, **options, **more)
        return optim.decay_mask(model.init(jax.random.key(0), images, train=False)["params"])

    stacked = stack_blocks({"params": jax.tree.map(jnp.asarray, mask())})["params"]
    looped = mask(scan_layers=True)
    assert jax.tree.map(lambda m: bool(m.all()), stacked) == looped
    flat = flatten_dict(looped)
    assert any("stage1_blocks" in path for path in flat)
    assert {path[-1] for path, decayed in flat.items() if decayed} == {"kernel"}
    assert all(decayed for path, decayed in flat.items() if path[-1] == "kernel")


def test_decay_mask_of_networks_stacked_by_vmap_is_that_of_one():
    one = optim.decay_mask(PARAMS)
    assert optim.decay_mask(jax.tree.map(lambda p: jnp.stack([p] * 3), PARAMS)) == one


def test_decay_mask_takes_bare_arrays_and_the_state_of_an_nnx_module():
    assert optim.decay_mask(jnp.ones((2, 2))) is True
    assert optim.decay_mask(jnp.ones(2)) is False
    module = nnx.BatchNorm(4, rngs=nnx.Rngs(0))
    stacked = jax.tree.map(lambda p: jnp.stack([p] * 3), nnx.state(module, nnx.Param))
    assert not any(jax.tree.leaves(optim.decay_mask(stacked)))


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["stem"], {"stem_conv/kernel"}),
        (["stage1"], {"stage1_block1/conv1/kernel", "stage1_block1/norm1/scale"}),
        (["bias"], {"stage10_block1/conv1/bias", "head/bias"}),
        (["head", "norm*"], {"head/kernel", "head/bias", "stage1_block1/norm1/scale"}),
        ([], set()),
    ],
)
def test_patterns_match_names_and_parts(patterns, expected):
    assert chosen(optim.matching(PARAMS, patterns)) == expected


@pytest.mark.parametrize(
    "use", [lambda p: optim.freeze(optim.sgd(0.1), p), lambda p: optim.scale_by_group({p: 2.0})]
)
def test_a_pattern_that_matches_nothing_is_refused(use):
    with pytest.raises(TrainError, match="no parameter matches 'heads'; did you mean head"):
        use("heads").init(PARAMS)


def test_frozen_parameters_stay_and_the_others_train_as_before():
    grads = jax.tree.map(jnp.ones_like, PARAMS)
    plain, frozen = (
        optim.sgd(0.1, weight_decay=0.1),
        optim.freeze(optim.sgd(0.1, weight_decay=0.1), "stem", "stage1"),
    )
    states = plain.init(PARAMS), frozen.init(PARAMS)
    assert len(jax.tree.leaves(states[1])) < len(jax.tree.leaves(states[0]))  # no momentum for frozen ones
    params = PARAMS, PARAMS
    for _ in range(3):
        steps = [tx.update(grads, s, p) for tx, s, p in zip((plain, frozen), states, params, strict=True)]
        states = tuple(state for _, state in steps)
        params = tuple(optax.apply_updates(p, u) for p, (u, _) in zip(params, steps, strict=True))
    for path, value in flatten_dict(params[1]).items():
        still = path[0].startswith(("stem", "stage1_"))
        expected = flatten_dict(PARAMS if still else params[0])[path]
        np.testing.assert_array_equal(value, expected)


def test_groups_have_learning_rates_of_their_own():
    grads = jax.tree.map(jnp.ones_like, PARAMS)
    tx = optax.chain(optim.sgd(0.1), optim.scale_by_group({"head": 10.0, "bias": 2.0}))
    updates, _ = jax.jit(tx.update)(grads, tx.init(PARAMS), PARAMS)
    for path, value in flatten_dict(updates).items():
        factor = 10.0 if path[0] == "head" else 2.0 if path[-1] == "bias" else 1.0
        np.testing.assert_allclose(value, -0.1 * factor, rtol=1e-6)


def test_groups_have_weight_decay_of_their_own():
    tx = optax.chain(optim.decay_by_group({"head/bias": 0.0, "head": 0.5, "bias": 0.25}), optim.sgd(1.0))
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)
    updates, _ = jax.jit(tx.update)(zeros, tx.init(PARAMS), PARAMS)
    for path, value in flatten_dict(updates).items():
        of_head = 0.0 if path[-1] == "bias" else 0.5
        decay = of_head if path[0] == "head" else 0.25 if path[-1] == "bias" else 0.0
        np.testing.assert_array_equal(value, jnp.full_like(value, -decay))


def test_a_pattern_of_weight_decay_that_matches_nothing_is_an_error():
    with pytest.raises(TrainError, match="did you mean head"):
        optim.decay_by_group({"haed": 0.5}).init(PARAMS)


def test_masks_and_groups_compose():
    tx = optim.freeze(optim.sgd(0.1, weight_decay=0.5, mask=optim.decay_mask), "head")
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)
    updates, _ = tx.update(zeros, tx.init(PARAMS), PARAMS)
    for path, value in flatten_dict(updates).items():
        decays = path[-1] == "kernel" and path[0] != "head"
        np.testing.assert_allclose(value, -0.05 if decays else 0.0)
