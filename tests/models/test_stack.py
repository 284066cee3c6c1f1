"""A network whose blocks run in a loop is the network written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_resnet.models import create_model, stack_blocks, unstack_blocks

SMALL = {"stage_sizes": (3, 1, 2), "widths": (8, 8, 16)}
STAGES = ("stage1", "stage2", "stage3")
IMAGES = jax.random.normal(jax.random.key(1), (4, 8, 8, 3))


def both(name, **options):
    model = create_model(name, **SMALL)
    variables = dict(jax.jit(model.init, static_argnames="train")(jax.random.key(0), IMAGES, train=False))
    return model, create_model(name, **SMALL, scan_layers=True, **options), variables


def assert_equal(actual, expected, tolerance=0.0):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), actual, expected
    )


@pytest.mark.parametrize("name", ["resnet20", "preact_resnet20"])
def test_stacking_and_unstacking_give_the_same_numbers(name):
    _, looped, variables = both(name)
    stacked = stack_blocks(variables)
    assert jax.tree.map(jnp.shape, stacked) == jax.tree.map(
        jnp.shape, dict(jax.eval_shape(lambda: looped.init(jax.random.key(0), IMAGES, train=False)))
    )
    assert_equal(unstack_blocks(stacked), variables)


@pytest.mark.parametrize(("name", "remat"), [("resnet20", ()), ("preact_resnet20", STAGES)])
def test_a_step_of_training_is_the_same(name, remat):
    model, looped, variables = both(name, remat=remat)

    def step(model, variables):
        def loss(params):
            logits, updated = model.apply(
                {**variables, "params": params}, IMAGES, train=True, mutable=["batch_stats"]
            )
            return jnp.sum(jnp.sin(logits)), (logits, updated["batch_stats"])

        (_, (logits, stats)), gradients = jax.value_and_grad(loss, has_aux=True)(variables["params"])
        return logits, {"params": gradients, "batch_stats": stats}

    logits, expected = jax.jit(lambda v: step(model, v))(variables)
    looped_logits, actual = jax.jit(lambda v: step(looped, v))(stack_blocks(variables))
    assert_equal(looped_logits, logits, 1e-5)
    assert_equal(unstack_blocks(actual), expected, 1e-4)


def test_initial_parameters_differ_from_block_to_block():
    looped = create_model("resnet20", **SMALL, scan_layers=True)
    kernels = looped.init(jax.random.key(0), IMAGES, train=False)["params"]["stage1_blocks"]["conv1"][
        "kernel"
    ]
    assert kernels.shape[0] == 2
    assert not np.array_equal(kernels[0], kernels[1])
    assert 0.5 < kernels[0].std() / kernels[1].std() < 2


def test_blocks_that_differ_are_refused():
    with pytest.raises(ValueError, match="drop_path"):
        create_model("resnet20", scan_layers=True, drop_path=0.1)


def test_a_thousand_layers_lower_to_a_small_program():
    def text(depth):
        model = create_model(f"resnet{depth}", scan_layers=True)
        variables = jax.eval_shape(lambda: model.init(jax.random.key(0), IMAGES, train=False))
        apply = jax.jit(lambda v: model.apply(v, IMAGES, train=False))
        return len(apply.lower(variables).as_text())

    assert text(1202) < 1.2 * text(20)
