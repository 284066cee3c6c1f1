"""The convolution under every transformation of JAX, against lax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax

from jax_resnet import layers
from jax_resnet.layers.onednn.library import load

X, W = (jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate([(2, 7, 6, 6), (3, 3, 2, 9)]))
OPTIONS = {
    "window_strides": (2, 1),
    "padding": "SAME",
    "rhs_dilation": (1, 2),
    "dimension_numbers": ("NHWC", "HWIO", "NHWC"),
    "feature_group_count": 3,
}


@pytest.fixture(params=["jax", "onednn"], autouse=True)
def implementation(request):
    if request.param == "onednn" and load().library is None:
        pytest.skip(load().reason)
    with layers.conv_implementation(request.param):
        yield request.param


def ours(x, w):
    return layers.conv_general_dilated(x, w, **OPTIONS)


def reference(x, w):
    return lax.conv_general_dilated(x, w, **OPTIONS)


def loss(conv):
    return lambda x, w: jnp.sum(jnp.sin(conv(x, w)))


def gradients(conv):
    return jax.grad(loss(conv), (0, 1))


def assert_same(actual, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), actual, expected)


def test_forward_mode():
    assert_same(jax.jvp(ours, (X, W), (X + 1, W - 1)), jax.jvp(reference, (X, W), (X + 1, W - 1)))


def test_second_derivatives():
    tangents = (jnp.cos(X), jnp.cos(W))

    def over_forward(conv):
        return jax.jvp(gradients(conv), (X, W), tangents)

    def over_reverse(conv):
        return jax.grad(
            lambda x, w: sum(jnp.vdot(g, t) for g, t in zip(gradients(conv)(x, w), tangents, strict=True)),
            (0, 1),
        )

    assert_same(over_forward(ours), over_forward(reference))
    assert_same(jax.jit(over_reverse(ours))(X, W), jax.jit(over_reverse(reference))(X, W))


def test_several_kernels_of_an_empty_batch():
    x, w = jnp.zeros((0, *X.shape[1:])), jnp.stack([W, W])
    assert jax.vmap(ours, (None, 0))(x, w).shape == jax.vmap(reference, (None, 0))(x, w).shape


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0), (3, 1)])
def test_vmap(axes):
    arrays = [
        v if axis is None else jnp.stack([v, 2 * v, v - 1], axis)
        for v, axis in zip((X, W), axes, strict=True)
    ]
    assert_same(jax.vmap(ours, axes, 2)(*arrays), jax.vmap(reference, axes, 2)(*arrays))
    assert_same(
        jax.jit(jax.vmap(gradients(ours), axes))(*arrays),
        jax.jit(jax.vmap(gradients(reference), axes))(*arrays),
    )


def test_gradients_of_each_example():
    def each(conv):
        return jax.jit(jax.vmap(lambda x: jax.grad(loss(conv), 1)(x[None], W)))

    assert_same(each(ours)(X), each(reference)(X))


def test_remat_and_loops():
    assert_same(jax.jit(jax.grad(jax.checkpoint(loss(ours)), (0, 1)))(X, W), gradients(reference)(X, W))

    def loop(conv):
        return jax.jit(
            lambda x, w: lax.scan(lambda c, w: (c + jnp.sum(conv(x, w)), None), 0.0, jnp.stack([w, 2 * w]))[0]
        )

    assert_same(loop(ours)(X, W), loop(reference)(X, W))


def test_without_jit():
    with jax.disable_jit():
        assert_same(gradients(ours)(X, W), gradients(reference)(X, W))


def test_export_is_portable():
    exported = export.export(jax.jit(gradients(ours)), platforms=["cpu", "cuda", "tpu"])(X, W)
    assert "custom_call" not in exported.mlir_module()
    assert_same(exported.call(X, W), gradients(reference)(X, W))


def test_export_of_any_batch_size():
    (batch,) = export.symbolic_shape("batch")
    exported = export.export(jax.jit(gradients(ours)))(
        jax.ShapeDtypeStruct((batch, *X.shape[1:]), X.dtype), W
    )
    assert_same(exported.call(X, W), gradients(reference)(X, W))
