"""Convolution and batch normalization over four devices equal those on one.

Where this process has fewer devices, the tests run in another one that has four.
"""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jax_resnet import layers

DEVICES = 4
needs_devices = pytest.mark.skipif(
    jax.device_count() < DEVICES, reason="run by test_the_rest_in_a_process_with_four_devices"
)
X = jax.random.normal(jax.random.key(0), (8, 6, 6, 8))
W = jax.random.normal(jax.random.key(1), (3, 3, 2, 8))
NORM = layers.BatchNorm()
STATS = NORM.init(jax.random.key(0), X, train=False)["batch_stats"]


def network(x, w):
    y = layers.conv_general_dilated(
        x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=4
    )
    params = {"scale": jnp.arange(1.0, 9), "bias": jnp.zeros(8)}
    variables = {"params": params, "batch_stats": STATS}
    return NORM.apply(variables, y, train=True, residual=x, relu=True, mutable=["batch_stats"])


def loss(x, w):
    y, state = network(x, w)
    return jnp.sum(jnp.sin(y)) + sum(jnp.sum(v) for v in jax.tree.leaves(state))


def mesh(kind=AxisType.Auto):
    return jax.make_mesh((DEVICES,), ("data",), axis_types=(kind,))


def assert_same(actual, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), actual, expected)


@pytest.mark.skipif(jax.device_count() >= DEVICES, reason="this process has the devices")
@pytest.mark.slow
def test_the_rest_in_a_process_with_four_devices():
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={DEVICES}"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    result = subprocess.run(
        command,
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout[-3000:]
    assert "failed" not in result.stdout


@needs_devices
def test_jit_over_a_mesh_has_global_statistics():
    x = jax.device_put(X, NamedSharding(mesh(), P("data")))
    assert_same(jax.jit(network)(x, W), network(X, W))
    assert_same(jax.jit(jax.grad(loss, (0, 1)))(x, W), jax.grad(loss, (0, 1))(X, W))


@needs_devices
def test_explicit_sharding_gives_the_same_results():
    with jax.set_mesh(mesh(AxisType.Explicit)):
        x, w = jax.device_put(X, P("data")), jax.device_put(W, P())
        actual = jax.tree.map(np.asarray, jax.jit(network)(x, w))
    assert_same(actual, network(X, W))


@needs_devices
@pytest.mark.parametrize("check", [True, False])
def test_in_shard_map_each_device_normalizes_by_its_own_statistics(check):
    def mean_gradient(x, w):
        if check:
            return jax.grad(lambda w: lax.psum(loss(x, w), "data"))(w)
        return lax.psum(jax.grad(loss, 1)(x, w), "data")

    sharded = jax.shard_map(
        mean_gradient, mesh=mesh(), in_specs=(P("data"), P()), out_specs=P(), check_vma=check
    )
    expected = sum(jax.grad(loss, 1)(part, W) for part in jnp.split(X, DEVICES))
    assert_same(jax.jit(sharded)(X, W), expected)


@needs_devices
def test_in_pmap_each_device_normalizes_by_its_own_statistics():
    parts = X.reshape(DEVICES, -1, *X.shape[1:])
    actual = jax.pmap(jax.grad(loss, (0, 1)), in_axes=(0, None))(parts, W)
    expected = [jax.grad(loss, (0, 1))(part, W) for part in parts]
    assert_same(actual, jax.tree.map(lambda *v: jnp.stack(v), *expected))


@needs_devices
def test_several_devices_compute_at_once():
    gradient = jax.jit(jax.grad(loss, 1))
    inputs = [(jax.device_put(X, d), jax.device_put(W, d)) for d in jax.devices()[:DEVICES]]
    results = [gradient(*i) for _ in range(5) for i in inputs]
    for result in results:
        assert_same(result, results[0])
