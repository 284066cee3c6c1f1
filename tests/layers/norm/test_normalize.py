"""Batch normalization as one operation: its statistics against NumPy, its derivatives against JAX's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jax_resnet.layers.norm.normalize import batch_moments, normalize
from tests.layers.norm.reference import arguments, assert_same, simple


def loss_of(f, relu):
    def loss(x, scale, bias, residual):
        y, mean, var = f(x, scale, bias, residual, 1e-3, relu)
        return jnp.sum(jnp.sin(y) * jnp.arange(y.size).reshape(y.shape) / y.size) + jnp.sum(
            mean * jnp.cos(var)
        )

    return loss


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
