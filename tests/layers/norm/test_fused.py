"""The fused normalization against the formula in float64, wherever and however it is computed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jax_resnet import layers
from jax_resnet.layers.norm.fused import can_be_fused, fused_normalize
from jax_resnet.layers.norm.normalize import normalize
from jax_resnet.layers.onednn.library import NORM_BACKWARD, NORM_FORWARD, load

TOLERANCE = {"float32": 2e-5, "bfloat16": 2e-2}
EPSILON = 1e-3


@pytest.fixture(params=["onednn", "plain"])
def where(request, monkeypatch):
    """With the extension, and as it is where the extension is not."""
    if request.param == "onednn":
        if load().library is None:
            pytest.skip(load().reason)
    else:
        monkeypatch.setattr("jax_resnet.layers.norm.fused.can_fuse", lambda *args, **kwargs: False)
        jax.clear_caches()
    yield request.param
    jax.clear_caches()


def inputs(shape, residual, dtype, seed=0):
    random = np.random.default_rng(seed)
    x, added, gradient = (jnp.asarray(random.standard_normal(shape) * 2 + 1, dtype) for _ in range(3))
    scale, bias = (jnp.asarray(random.standard_normal(shape[-1]), jnp.float32) for _ in range(2))
    return (x, scale, bias, added if residual else None), gradient


def forward_and_backward(f, arguments, gradient, relu):
    """Results and gradients, of the statistics too."""
    (y, mean, var), pull = jax.vjp(lambda *a: f(*a, EPSILON, relu), *arguments)
    return y, mean, var, pull((gradient.astype(y.dtype), 0.3 * jnp.ones_like(mean), 0.2 * jnp.ones_like(var)))


def assert_right(shape, residual, relu, dtype, seed=0):
    arguments, gradient = inputs(shape, residual, dtype, seed)
    actual = jax.jit(forward_and_backward, static_argnums=(0, 3))(fused_normalize, arguments, gradient, relu)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda v: v.astype(jnp.float64), (arguments, gradient))
        expected = forward_and_backward(normalize, *wide, relu)
    for ours, exact in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        exact = np.asarray(exact)
        scale = max(np.abs(exact).max(), 1.0)
        # A result next to zero may pass the ReLU here and not there; in bfloat16 that happens.
        off = np.abs(np.asarray(ours, np.float64) - exact) / scale > TOLERANCE[dtype]
        assert off.mean() <= (0.0 if dtype == "float32" else 0.01)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("shape", "residual", "relu"),
    [
        ((4, 9, 8, 16), True, True),
        ((3, 5, 5, 48), False, True),
        ((2, 3, 5, 128), True, False),
        ((8, 4, 4, 8), False, False),
        ((33, 64), True, True),
    ],
)
def test_forward_and_backward(where, shape, residual, relu, dtype):
    assert_right(shape, residual, relu, dtype)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    channels=st.sampled_from([1, 3, 4, 8, 16, 24, 32, 48, 64, 80, 128, 192]),
    residual=st.booleans(),
    relu=st.booleans(),
    dtype=st.sampled_from(["float32", "bfloat16"]),
    seed=st.integers(0, 99),
)
def test_any_shape(rows, channels, residual, relu, dtype, seed):
    assert_right((7, *rows, channels), residual, relu, dtype, seed)


def test_large_means_keep_their_variance(where):
    x = np.random.default_rng(0).normal(1e4, 1, (16, 16, 16, 32)).astype(np.float32)
    one = jnp.ones(32)
    _, mean, var = jax.jit(fused_normalize, static_argnums=(3, 4, 5))(x, one, one, None, EPSILON, True)
    np.testing.assert_allclose(mean, x.mean((0, 1, 2), np.float64), rtol=1e-6)
    np.testing.assert_allclose(var, x.astype(np.float64).var((0, 1, 2)), rtol=2e-4)


def test_what_is_no_number_stays_none(where):
    arguments, _ = inputs((8, 4, 4, 16), True, "float32")
    spoilt = (arguments[0].at[0, 0, 0, 3].set(jnp.nan), *arguments[1:])
    y, *_ = jax.jit(fused_normalize, static_argnums=(4, 5))(*spoilt, EPSILON, True)
    assert np.isnan(y[..., 3]).all()
    assert np.isfinite(np.delete(y, 3, axis=-1)).all()


def test_derivatives_of_derivatives_and_vmap(where):
    arguments, _ = inputs((5, 3, 4, 16), True, "float32")

    def twice(f):
        def loss(*a):
            y, mean, var = f(*a, EPSILON, False)
            return jnp.sum(jnp.sin(y)) + jnp.sum(mean * var)

        gradient = jax.grad(loss, (0, 1, 2, 3))
        forward_of_reverse = jax.jvp(gradient, arguments, arguments)
        reverse_of_reverse = jax.grad(lambda *a: sum(jnp.sum(g**2) for g in gradient(*a)), (0, 1))(*arguments)
        batched = jax.vmap(gradient, (0, None, None, 0))(
            *(jnp.stack([a, 2 * a]) if a.ndim > 1 else a for a in arguments)
        )
        return forward_of_reverse, reverse_of_reverse, batched, jax.jvp(loss, arguments, arguments)

    actual, expected = (jax.jit(twice, static_argnums=0)(f) for f in (fused_normalize, normalize))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-3 * np.abs(b).max()),
        actual,
        expected,
    )


def test_the_extension_is_what_runs_and_an_export_is_without_it():
    if load().library is None:
        pytest.skip(load().reason)
    norm, x = layers.BatchNorm(), jnp.ones((4, 4, 4, 16))
    variables = norm.init(jax.random.key(0), x, train=True)

    def gradient(x):
        return jax.grad(
            lambda x: norm.apply(variables, x, train=True, relu=True, mutable=["batch_stats"])[0].sum()
        )(x)

    for implementation, there in (("onednn", True), ("jax", False), ("xla", False)):
        with layers.conv_implementation(implementation):
            text = jax.jit(gradient).lower(x).as_text()
        assert (NORM_FORWARD in text) == (NORM_BACKWARD in text) == there
    with layers.conv_implementation("onednn"):
        exported = jax.export.export(jax.jit(gradient))(x)
    assert NORM_FORWARD not in exported.mlir_module()
    np.testing.assert_allclose(exported.call(x), gradient(x), atol=1e-6)


def test_mixed_dtypes_and_doubles_are_not_fused():
    x = jnp.ones((2, 16), jnp.bfloat16)
    with layers.conv_implementation("auto"):
        assert can_be_fused(x, x, jnp.bfloat16)
        assert not can_be_fused(x, x, jnp.float32)
        assert not can_be_fused(x, x.astype(jnp.float32), jnp.bfloat16)
        with jax.enable_x64(True):
            assert not can_be_fused(jnp.ones((2, 16), jnp.float64), None, jnp.float64)
