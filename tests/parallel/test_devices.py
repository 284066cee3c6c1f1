"""One step over eight devices equals the step on one, however it is spread.

Where the process has fewer devices, the tests run in another one that has them.
"""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from jax_resnet import checkpoint, optim, train
from jax_resnet.data.augment import make_augment, normalize
from jax_resnet.models import create_model
from jax_resnet.parallel import Plan, data_mesh
from jax_resnet.parallel.mesh import shardings_of

DEVICES, BATCH, STEPS = 8, 16, 5
needs_devices = pytest.mark.skipif(jax.device_count() < DEVICES, reason="run by test_in_a_process_with_eight")
MEAN, STD = (0.5,) * 3, (0.25,) * 3
MODEL = create_model("resnet8", widths=(8, 16, 32))
TX = optim.sgd(0.1, weight_decay=1e-3)
AUGMENT = make_augment(MEAN, STD, crop_padding=1)
SPREAD = [("jit", False), ("jit", True), ("shard_map", False), ("pmap", False)]


@pytest.fixture(scope="module")
def batches():
    rng = np.random.default_rng(0)
    return [
        {
            "image": rng.integers(0, 256, (BATCH, 8, 8, 3), dtype=np.uint8),
            "label": rng.integers(0, 10, BATCH).astype(np.int32),
            "index": rng.permutation(BATCH).astype(np.int32),
        }
        for _ in range(STEPS)
    ]


def new_state(model=MODEL):
    return train.create_state(model, TX, jax.random.key(0), (8, 8, 3))


def train_on(plan, batches, model=MODEL, **options):
    """The state after the batches, and each step's mean loss."""
    state = plan.place(new_state(model))
    step = train.make_train_step(model, TX, AUGMENT, axis_name=plan.axis_name, **options)
    step = plan.train_step(step, state)
    losses = []
    for batch in batches:
        state, metrics = step(state, batch)
        assert int(metrics["count"]) == BATCH
        losses.append(float(metrics["loss"]) / BATCH)
    return state, losses


def one_device():
    return Plan(data_mesh(jax.devices()[:1]))


@pytest.fixture(scope="module")
def alone(batches):
    return train_on(one_device(), batches)


def numbers(state):
    return jax.tree.map(np.asarray, (state.params, state.batch_stats, state.opt_state))


def assert_close(actual, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), actual, expected)


@pytest.mark.slow
@pytest.mark.skipif(jax.device_count() >= DEVICES, reason="this process has the devices")
def test_in_a_process_with_eight():
    # Compiled as users do: without optimization a step rounds otherwise in a loop than alone.
    flags = f"--xla_backend_optimization_level=3 --xla_force_host_platform_device_count={DEVICES}"
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout[-3000:]
    assert "failed" not in result.stdout


@needs_devices
@pytest.mark.parametrize(("mode", "shard_params"), SPREAD)
def test_eight_devices_train_as_one(batches, alone, mode, shard_params):
    state, losses = train_on(Plan(data_mesh(), mode, shard_params), batches)
    np.testing.assert_allclose(losses, alone[1], rtol=1e-5)
    assert_close(numbers(state), numbers(alone[0]))


@needs_devices
@pytest.mark.parametrize("mode", ["shard_map", "pmap"])
def test_local_batch_norm_is_the_average_of_devices_on_their_own(batches, alone, mode):
    state, losses = train_on(Plan(data_mesh(), mode), batches, batch_norm="per-device")

    # By hand: SGD and running statistics are linear, so that the states of eight steps can be averaged.
    step = jax.jit(train.make_train_step(MODEL, TX, AUGMENT))
    expected, expected_losses = new_state(), []
    for batch in batches:
        parts = [jax.tree.map(lambda x, i=i: np.split(x, DEVICES)[i], batch) for i in range(DEVICES)]
        results = [step(expected, part) for part in parts]
        new = [numbers(after) for after, _ in results]
        params, batch_stats, opt_state = jax.tree.map(lambda *x: np.mean(x, 0).astype(x[0].dtype), *new)
        expected = expected.replace(
            step=expected.step + 1, params=params, batch_stats=batch_stats, opt_state=opt_state
        )
        expected_losses.append(sum(float(metrics["loss"]) for _, metrics in results) / BATCH)

    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    assert_close(numbers(state), numbers(expected))
    assert max(abs(a / b - 1) for a, b in zip(losses, alone[1], strict=True)) > 1e-3


@needs_devices
@pytest.mark.parametrize(("mode", "shard_params"), SPREAD[:3])
def test_steps_in_one_dispatch_are_those_one_by_one(batches, alone, mode, shard_params):
    plan = Plan(data_mesh(), mode, shard_params=shard_params)
    state = plan.place(new_state())
    step = train.make_train_step(MODEL, TX, AUGMENT, axis_name=plan.axis_name)
    steps = plan.train_steps(train.make_train_steps(step), state)
    stacked = {name: np.stack([batch[name] for batch in batches]) for name in batches[0]}
    state, metrics = steps(state, stacked)
    np.testing.assert_allclose(metrics["loss"] / BATCH, alone[1], rtol=1e-5)
    assert_close(numbers(state), numbers(alone[0]))


@needs_devices
def test_parameters_are_really_sharded(batches):
    state, _ = train_on(Plan(data_mesh(), shard_params=True), batches[:1])
    kernel = state.params["stage3_block1"]["conv2"]["kernel"]
    momentum = optim_trace(state)["stage3_block1"]["conv2"]["kernel"]
    for whole in (kernel, momentum):
        assert whole.shape == (3, 3, 32, 32)
        assert {shard.data.shape for shard in whole.addressable_shards} == {(3, 3, 4, 32)}
    small = state.params["head"]["bias"]
    assert {shard.data.shape for shard in small.addressable_shards} == {(10,)}


def optim_trace(state):
    (trace,) = [s.trace for s in jax.tree.leaves(state.opt_state, is_leaf=is_trace) if is_trace(s)]
    return trace


def is_trace(x):
    return hasattr(x, "trace")


@needs_devices
def test_the_largest_axis_that_divides_is_cut():
    mesh = data_mesh()
    shapes = {
        "last": jax.ShapeDtypeStruct((3, 3, 512, 1024), jnp.float32),
        "first": jax.ShapeDtypeStruct((4096, 100), jnp.float32),
        "none": jax.ShapeDtypeStruct((9999, 9999), jnp.float32),
        "small": jax.ShapeDtypeStruct((64,), jnp.float32),
    }
    specs = jax.tree.map(lambda s: s.spec, shardings_of(shapes, mesh, shard=True))
    assert specs == {"last": P(None, None, None, "data"), "first": P("data"), "none": P(), "small": P()}


@needs_devices
@pytest.mark.parametrize("mode", ["jit", "shard_map"])
def test_accumulated_gradients_are_those_of_the_whole_batch(batches, mode):
    model = create_model("mnist_cnn")  # without BatchNorm
    augment = make_augment((0.1,), (0.3,), crop_padding=0, flip=False)
    rng = np.random.default_rng(0)
    batch = {**batches[0], "image": rng.integers(0, 256, (BATCH, 28, 28, 1), dtype=np.uint8)}
    results = []
    for plan, accumulate in [(one_device(), 1), (Plan(data_mesh(), mode), 2)]:
        state = plan.place(train.create_state(model, TX, jax.random.key(0), (28, 28, 1)))
        step = train.make_train_step(model, TX, augment, accumulate=accumulate, axis_name=plan.axis_name)
        state, metrics = plan.train_step(step, state)(state, batch)
        results.append((numbers(state), {name: float(value) for name, value in metrics.items()}))
    assert_close(*results)


@needs_devices
@pytest.mark.parametrize("mode", ["jit", "shard_map", "pmap"])
def test_evaluation_returns_every_logit(batches, mode):
    batch = {**batches[0], "mask": np.arange(BATCH) < 13}
    results = []
    for plan in (one_device(), Plan(data_mesh(), mode)):
        step = train.make_eval_step(MODEL, lambda x: normalize(x, MEAN, STD), axis_name=plan.axis_name)
        results.append(plan.eval_step(step)(plan.place(new_state().variables), batch))
    (logits, metrics), (logits8, metrics8) = results
    np.testing.assert_allclose(logits8, logits, rtol=1e-4, atol=1e-5)
    assert int(metrics8["count"]) == int(metrics["count"]) == 13
    assert int(metrics8["correct"]) == int(metrics["correct"])
    assert float(metrics8["loss"]) == pytest.approx(float(metrics["loss"]), rel=1e-5)


@needs_devices
def test_checkpoints_cross_topologies_bit_for_bit(batches, tmp_path):
    plans = [one_device(), Plan(data_mesh()), Plan(data_mesh(), shard_params=True)]
    state, _ = train_on(plans[2], batches[:2])
    expected = numbers(state)
    config = {"model": {"name": "resnet8", "num_classes": 10, "widths": [8, 16, 32]}}
    for i, plan in enumerate(plans):
        with checkpoint.Checkpointer(tmp_path / str(i)) as saving:
            saving.save(state, config)
        with checkpoint.Checkpointer(tmp_path / str(i)) as reading:
            state = reading.restore(plan.place(new_state()))
        jax.tree.map(np.testing.assert_array_equal, numbers(state), expected)
        assert int(state.step) == 2
        kernel = state.params["stage3_block1"]["conv2"]["kernel"]
        assert len(kernel.sharding.device_set) == plan.mesh.size
        assert kernel.sharding.is_fully_replicated == (not plan.shard_params)
    jax.tree.map(
        np.testing.assert_array_equal, checkpoint.restore(tmp_path / "0").variables, expected_of(state)
    )


def expected_of(state):
    return jax.tree.map(np.asarray, state.variables)
