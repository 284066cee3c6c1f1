"""The fused normalization against the formula in float64, with the extension and without it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jax_resnet import layers
from jax_resnet.layers.norm.fused import can_fuse, fused_normalize
from jax_resnet.layers.norm.normalize import normalize
from jax_resnet.layers.onednn.library import NORM_BACKWARD, NORM_FORWARD, load

TOLERANCE = {"float32": 2e-5, "bfloat16": 2e-2}
EPSILON = 1e-3


@pytest.fixture(params=["onednn", "plain"])
def run(request):
    """Calls a compiled function, with the extension or without it: an exported program has none."""
    if request.param == "onednn" and load().library is None:
        pytest.skip(load().reason)

    def call(f, *arguments):
        if request.param == "onednn":
            return jax.jit(f)(*arguments)
        return jax.export.export(jax.jit(f))(*arguments).call(*arguments)

    with layers.conv_implementation("auto"):
        yield call


def inputs(shape, residual, dtype, seed=0):
    random = np.random.default_rng(seed)
    x, added, gradient = (jnp.asarray(random.standard_normal(shape) * 2 + 1, dtype) for _ in range(3))
    scale, bias = (jnp.asarray(random.standard_normal(shape[-1]), jnp.float32) for _ in range(2))
    return (x, scale, bias, added if residual else None), gradient


def forward_and_backward(f, arguments, gradient, relu):
    """Results and gradients, of the statistics too."""
    (y, mean, var), pull = jax.vjp(lambda *a: f(*a, EPSILON, relu), *arguments)
    return y, mean, var, pull((gradient.astype(y.dtype), 0.3 * jnp.ones_like(mean), 0.2 * jnp.ones_like(var)))


def assert_right(run, shape, residual, relu, dtype, seed=0):
    arguments, gradient = inputs(shape, residual, dtype, seed)
    actual = run(lambda *a: forward_and_backward(fused_normalize, *a, relu), arguments, gradient)
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
@pytest.mark.slow
def test_forward_and_backward_equal_the_formula(run, shape, residual, relu, dtype):
    assert_right(run, shape, residual, relu, dtype)


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
def test_any_shape_equals_the_formula(rows, channels, residual, relu, dtype, seed):
    assert_right(lambda f, *a: jax.jit(f)(*a), (7, *rows, channels), residual, relu, dtype, seed)


def test_large_means_keep_their_variance(run):
    x = np.random.default_rng(0).normal(1e4, 1, (16, 16, 16, 32)).astype(np.float32)
    one = jnp.ones(32)
    _, mean, var = run(lambda x: fused_normalize(x, one, one, None, EPSILON, True), x)
    np.testing.assert_allclose(mean, x.mean((0, 1, 2), np.float64), rtol=1e-6)
    np.testing.assert_allclose(var, x.astype(np.float64).var((0, 1, 2)), rtol=2e-4)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    at=st.one_of(st.none(), st.integers(0, 8 * 9 * 8 - 1)),
    outlier=st.sampled_from([1e3, -1e4, 1e6]),
    offset=st.sampled_from([0.0, 1.0, -300.0, 1e5]),
    seed=st.integers(0, 99),
)
@pytest.mark.parametrize("with_extension", [True, False])
def test_outliers_and_offsets_leave_the_statistics_exact(with_extension, at, outlier, offset, seed):
    if with_extension and load().library is None:
        pytest.skip(load().reason)
    x = np.random.default_rng(seed).normal(offset, 1, (8 * 9 * 8, 16)).astype(np.float32)
    if at is not None:
        x[at] = outlier
    x = x.reshape(8, 9, 8, 16)
    one = jnp.ones(16)
    with layers.conv_implementation("onednn" if with_extension else "jax"):
        norm = fused_normalize if with_extension else normalize
        _, mean, var = jax.jit(norm, static_argnums=(3, 4, 5))(x, one, one, None, EPSILON, True)
    exact = x.astype(np.float64)
    scale = np.abs(exact).max((0, 1, 2))
    np.testing.assert_allclose(mean / scale, exact.mean((0, 1, 2)) / scale, atol=3e-7)
    np.testing.assert_allclose(var, exact.var((0, 1, 2)), rtol=5e-6)


@pytest.mark.parametrize("shape", [(4096, 16), (100, 64), (7, 128), (70, 48)])
@pytest.mark.parametrize("value", [0.0, 1.0, -1234.567, 1e15])
def test_a_constant_channel_has_its_value_and_no_variance(run, shape, value):
    x, one = jnp.full(shape, value), jnp.ones(shape[-1])
    y, mean, var = run(lambda x: fused_normalize(x, one, one, None, EPSILON, False), x)
    np.testing.assert_allclose(mean, np.full(shape[-1], value), rtol=1e-7)
    assert (np.asarray(var, np.float64) <= (1e-6 * value) ** 2).all()
    assert np.isfinite(y).all()


def test_nan_spoils_its_own_channel_only(run):
    arguments, _ = inputs((8, 4, 4, 16), True, "float32")
    spoiled = (arguments[0].at[0, 0, 0, 3].set(jnp.nan), *arguments[1:])
    y, *_ = run(lambda *a: fused_normalize(*a, EPSILON, True), *spoiled)
    assert np.isnan(y[..., 3]).all()
    assert np.isfinite(np.delete(y, 3, axis=-1)).all()


def test_derivatives_of_derivatives_and_vmap_equal_the_formula(run):
    arguments, _ = inputs((5, 3, 4, 16), True, "float32")

    def twice(f, *arguments):
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

    actual, expected = (run(functools.partial(twice, f), *arguments) for f in (fused_normalize, normalize))
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
        assert can_fuse(x, x, jnp.bfloat16)
        assert not can_fuse(x, x, jnp.float32)
        assert not can_fuse(x, x.astype(jnp.float32), jnp.bfloat16)
        with jax.enable_x64(True):
            assert not can_fuse(jnp.ones((2, 16), jnp.float64), None, jnp.float64)
