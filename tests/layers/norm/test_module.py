"""Batch normalization against flax's, NumPy and JAX's own derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from hypothesis import given, settings
from hypothesis import strategies as st

from jax_resnet.layers import BatchNorm
from jax_resnet.layers.norm.normalize import batch_moments, normalize
from jax_resnet.layers.norm.reductions import pair_broadcast, pair_sum


def simple(x, scale, bias, residual, epsilon, relu):
    """The formula of the paper, left to JAX's own differentiation."""
    axes = tuple(range(x.ndim - 1))
    mean, var = jnp.mean(x, axes), jnp.var(x, axes)
    y = (x - mean) / jnp.sqrt(var + epsilon) * scale + bias
    y = y if residual is None else y + residual
    return nn.relu(y) if relu else y, mean, var


def arguments(shape, dtype, with_residual=True, seed=0):
    random = np.random.default_rng(seed)
    x, residual = (random.standard_normal(shape) * 2 + 1 for _ in range(2))
    scale, bias = random.standard_normal((2, shape[-1]))
    return jax.tree.map(
        lambda v: jnp.asarray(v, dtype), (x, scale, bias, residual if with_residual else None)
    )


def loss_of(f, relu):
    def loss(x, scale, bias, residual):
        y, mean, var = f(x, scale, bias, residual, 1e-3, relu)
        return jnp.sum(jnp.sin(y) * jnp.arange(y.size).reshape(y.shape) / y.size) + jnp.sum(
            mean * jnp.cos(var)
        )

    return loss


def assert_same(actual, expected, tolerance=1e-9):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), actual, expected
    )


def assert_derivatives_equal(shape, residual, relu):
    with jax.enable_x64(True):
        args = arguments(shape, jnp.float64, residual)

        def everything(f):
            loss = loss_of(f, relu)
            gradients = jax.grad(loss, (0, 1, 2, 3))(*args)
            return f(*args, 1e-3, relu), gradients, jax.jvp(loss, args, args)

        assert_same(
            jax.jit(everything, static_argnums=0)(normalize), jax.jit(everything, static_argnums=0)(simple)
        )


@pytest.mark.parametrize(
    ("shape", "residual", "relu"),
    [
        ((7, 3), False, True),
        ((7, 4, 5, 2), True, True),
        ((7, 2, 3), True, False),
        ((7, 1, 1, 1, 2), False, False),
    ],
)
def test_derivatives_equal_those_of_the_formula(shape, residual, relu):
    assert_derivatives_equal(shape, residual, relu)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=4).map(lambda s: (7, *s)),
    residual=st.booleans(),
    relu=st.booleans(),
)
def test_derivatives_equal_those_of_the_formula_for_any_shape(shape, residual, relu):
    assert_derivatives_equal(shape, residual, relu)


def test_second_derivatives():
    with jax.enable_x64(True):
        args = arguments((3, 4, 2, 3), jnp.float64)

        def twice(f):
            gradient = jax.grad(loss_of(f, False), (0, 1, 2, 3))
            forward = jax.jvp(gradient, args, args)
            reverse = jax.grad(lambda *a: sum(jnp.sum(jnp.cos(g)) for g in gradient(*a)), (0, 1, 2, 3))(*args)
            return forward, reverse

        jitted = jax.jit(twice, static_argnums=0)
        assert_same(jitted(normalize), jitted(simple), 1e-7)


def test_vmap():
    with jax.enable_x64(True):
        x, scale, bias, residual = arguments((3, 4, 5, 2), jnp.float64)
        batched = (jnp.stack([x, 2 * x, x**2], 2), scale, bias, jnp.stack([residual, x, x]))

        def gradients(f):
            return jax.jit(jax.vmap(jax.grad(loss_of(f, True), (0, 1, 2, 3)), (2, None, None, 0)))(*batched)

        assert_same(gradients(normalize), gradients(simple))


def test_pairs_under_every_transformation():
    a, b = (jax.random.normal(jax.random.key(i), (3, 4, 2)) for i in range(2))
    expected = [a.sum((0, 1)), b.sum((0, 1))]
    assert_same(pair_sum(a, b), expected, 1e-5)
    assert_same(jax.jvp(pair_sum, (a, b), (b, a))[1], expected[::-1], 1e-5)
    assert_same(jax.vmap(pair_sum, (None, 0))(a, jnp.stack([b, a]))[1][1], expected[0], 1e-5)
    assert_same(jax.grad(lambda a: pair_sum(a, b)[0].sum())(a), jnp.ones_like(a))
    wide = jax.vmap(lambda v, w: pair_broadcast(v, w, like=a), (0, None))(jnp.eye(2), jnp.ones(2))
    assert_same([v[1, 2, 3] for v in wide], [jnp.array([0.0, 1.0]), jnp.ones(2)])


@pytest.mark.parametrize("mean", [0.0, 1000.0, -1e5])
def test_statistics_survive_large_means(mean):
    x = np.asarray(jax.random.normal(jax.random.key(0), (16, 8, 8, 32)) + mean, np.float32)
    actual_mean, actual_var = jax.jit(batch_moments)(x)
    exact = x.astype(np.float64)
    np.testing.assert_allclose(actual_mean, exact.mean((0, 1, 2)), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(actual_var, exact.var((0, 1, 2)), rtol=2e-5)


def test_statistics_survive_a_misleading_first_row():
    # The row about which squares are summed lies as far from the others as it can.
    x = np.random.default_rng(0).normal(1e4, 1, (8, 32, 4, 3)).astype(np.float32)
    x[:, 0] = 0
    _, var = jax.jit(batch_moments)(x)
    np.testing.assert_allclose(var, x.astype(np.float64).var((0, 1, 2)), rtol=1e-4)


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


def test_one_value_in_each_channel():
    variables = {
        "params": {"scale": jnp.ones(3), "bias": jnp.ones(3)},
        "batch_stats": {"mean": jnp.zeros(3), "var": jnp.ones(3)},
    }
    y, state = BatchNorm().apply(variables, jnp.full((1, 3), 5.0), train=True, mutable=["batch_stats"])
    assert_same(y, jnp.ones((1, 3)), 0)
    assert_same(state["batch_stats"]["var"], jnp.full(3, 0.9), 1e-6)
