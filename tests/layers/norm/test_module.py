"""The module BatchNorm against Flax's, and its running statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jax_resnet.errors import ModelError
from jax_resnet.layers import BatchNorm
from tests.layers.norm.reference import arguments, assert_same, simple


class FlaxNorm(nn.Module):
    """Flax's batch normalization, then residual and ReLU."""

    @nn.compact
    def __call__(self, x, residual):
        norm = nn.BatchNorm(use_running_average=False, momentum=0.9, use_fast_variance=False, name="norm")
        return nn.relu(norm(x) + residual)


def test_equals_flax():
    x, scale, bias, residual = arguments((8, 5, 5, 6), jnp.float32)
    params = {"scale": scale, "bias": bias}
    stats = {"mean": bias, "var": jnp.abs(scale)}

    def ours(params, x, residual):
        variables = {"params": params, "batch_stats": stats}
        return BatchNorm().apply(
            variables, x, train=True, residual=residual, relu=True, mutable=["batch_stats"]
        )

    def reference(params, x, residual):
        variables = {"params": {"norm": params}, "batch_stats": {"norm": stats}}
        return FlaxNorm().apply(variables, x, residual, mutable=["batch_stats"])

    (y, state), (expected, expected_state) = ours(params, x, residual), reference(params, x, residual)
    assert_same(y, expected, 1e-5)
    n = x.size // 6
    moved = jax.tree.map(lambda new, old: new - 0.9 * old, expected_state["batch_stats"]["norm"], stats)
    assert_same(state["batch_stats"]["mean"], 0.9 * stats["mean"] + moved["mean"], 1e-5)
    # Flax leaves out the correction of PyTorch.
    assert_same(state["batch_stats"]["var"], 0.9 * stats["var"] + moved["var"] * n / (n - 1), 1e-5)

    def gradients(f):
        return jax.jit(jax.grad(lambda *a: jnp.sum(jnp.sin(f(*a)[0])), (0, 1, 2)))(params, x, residual)

    assert_same(gradients(ours), gradients(reference), 1e-4)


def test_bfloat16_is_computed_in_float32():
    x, scale, bias, residual = arguments((8, 5, 5, 6), jnp.bfloat16)
    variables = {
        "params": {"scale": scale.astype(jnp.float32), "bias": bias.astype(jnp.float32)},
        "batch_stats": {"mean": jnp.zeros(6), "var": jnp.ones(6)},
    }
    options = {"train": True, "relu": True, "mutable": ["batch_stats"]}
    y, state = BatchNorm().apply(variables, x, residual=residual, **options)
    wide = [v.astype(jnp.float32) for v in (x, residual)]
    expected, expected_state = BatchNorm().apply(variables, wide[0], residual=wide[1], **options)
    assert y.dtype == jnp.bfloat16
    assert_same(y, expected.astype(jnp.bfloat16), 0)
    assert_same(state, expected_state, 1e-6)
    assert BatchNorm(dtype=jnp.float32).apply(variables, x, train=False).dtype == jnp.float32


def test_float64_is_computed_in_float64():
    with jax.enable_x64(True):
        x, scale, bias, residual = arguments((8, 5, 5, 6), jnp.float64)
        variables = {
            "params": {"scale": scale, "bias": bias},
            "batch_stats": {"mean": jnp.zeros(6), "var": jnp.ones(6)},
        }
        y, state = BatchNorm(epsilon=1e-3).apply(
            variables, x, train=True, residual=residual, mutable=["batch_stats"]
        )
        expected, mean, _ = simple(x, scale, bias, residual, 1e-3, False)
        assert y.dtype == state["batch_stats"]["mean"].dtype == jnp.float64
        assert_same(y, expected, 1e-12)
        assert_same(state["batch_stats"]["mean"], 0.1 * mean, 1e-12)


@pytest.mark.parametrize(("train", "frozen"), [(False, False), (True, True), (False, True)])
def test_running_statistics_are_used_and_stay(train, frozen):
    x, scale, bias, residual = arguments((4, 3, 3, 6), jnp.float32)
    stats = {"mean": bias, "var": jnp.abs(scale)}
    variables = {"params": {"scale": scale, "bias": bias}, "batch_stats": stats}
    norm = BatchNorm(frozen=frozen)
    y, state = norm.apply(variables, x, train=train, residual=residual, mutable=["batch_stats"])
    expected = (x - stats["mean"]) / jnp.sqrt(stats["var"] + 1e-5) * scale + bias + residual
    assert_same(y, expected, 1e-4)
    assert_same(state["batch_stats"], stats, 0)


def test_statistics_stay_where_they_are_not_mutable_and_in_init():
    x, *_ = arguments((4, 3, 3, 6), jnp.float32)
    variables = BatchNorm().init(jax.random.key(0), x, train=True)
    assert_same(variables["batch_stats"], {"mean": jnp.zeros(6), "var": jnp.ones(6)}, 0)
    y = BatchNorm().apply(variables, x, train=True)
    assert_same(y, simple(x, 1.0, 0.0, None, 1e-5, False)[0], 1e-4)


def variables_of(channels):
    return {
        "params": {"scale": jnp.ones(channels), "bias": jnp.ones(channels)},
        "batch_stats": {"mean": jnp.full(channels, 2.0), "var": jnp.full(channels, 3.0)},
    }


@pytest.mark.parametrize("shape", [(1, 3), (1, 1, 1, 16), (1, 1, 3)])
def test_one_value_per_channel_is_refused_in_training_as_in_pytorch(shape):
    x, variables = jnp.full(shape, 5.0), variables_of(shape[-1])
    for step in (BatchNorm().apply, jax.jit(BatchNorm().apply, static_argnames=("train", "mutable"))):
        with pytest.raises(ModelError, match=r"more than one value per channel, not an input of shape \(1, "):
            step(variables, x, train=True, mutable=("batch_stats",))
    assert np.isfinite(BatchNorm().apply(variables, x, train=False)).all()
    assert np.isfinite(BatchNorm(frozen=True).apply(variables, x, train=True)).all()
    # Shapes are all that matters when a network is initialized.
    assert BatchNorm().init(jax.random.key(0), x, train=True)["params"]["scale"].shape == shape[-1:]


@pytest.mark.parametrize("shape", [(0, 3), (0, 4, 4, 16), (2, 0, 4, 16)])
def test_an_empty_batch_leaves_the_running_statistics(shape):
    x, variables = jnp.zeros(shape), variables_of(shape[-1])

    def loss(params):
        y, state = BatchNorm().apply(
            {**variables, "params": params}, x, train=True, relu=True, residual=x, mutable=["batch_stats"]
        )
        return y.sum(), (y, state)

    gradients, (y, state) = jax.jit(jax.grad(loss, has_aux=True))(variables["params"])
    assert y.shape == shape
    assert_same(state["batch_stats"], variables["batch_stats"], 0)
    assert_same(gradients, {"scale": jnp.zeros(shape[-1]), "bias": jnp.zeros(shape[-1])}, 0)


def test_training_exports_with_any_batch_size():
    (batch,) = jax.export.symbolic_shape("batch")
    variables, x = variables_of(16), arguments((5, 4, 4, 16), jnp.float32)[0]

    def step(x):
        return BatchNorm().apply(variables, x, train=True, mutable=["batch_stats"])

    exported = jax.export.export(jax.jit(step))(jax.ShapeDtypeStruct((batch, *x.shape[1:]), x.dtype))
    assert_same(exported.call(x), step(x), 1e-5)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("shape", [(2, 8, 4, 16), (1, 1, 1, 16)])
def test_a_residual_of_another_shape_is_refused(train, shape):
    x, residual = jnp.ones((2, 4, 8, 16)), jnp.ones(shape)
    variables = BatchNorm().init(jax.random.key(0), x, train=True)
    with pytest.raises(ModelError, match=r"a residual of shape .* cannot be added to"):
        BatchNorm().apply(variables, x, residual=residual, train=train, mutable=["batch_stats"])


def test_without_momentum_nothing_is_left_of_statistics_that_are_not_finite():
    x = jax.random.normal(jax.random.key(0), (4, 3, 3, 2))
    norm = BatchNorm(momentum=0.0)
    variables = norm.init(jax.random.key(0), x, train=True)
    broken = {**variables, "batch_stats": {"mean": jnp.full(2, jnp.nan), "var": jnp.full(2, jnp.inf)}}
    results = [norm.apply(v, x, train=True, mutable=["batch_stats"])[1] for v in (variables, broken)]
    jax.tree.map(np.testing.assert_array_equal, *results)
