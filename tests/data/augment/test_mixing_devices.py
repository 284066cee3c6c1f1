"""Mixup, CutMix and alternating flips are the same however a batch is spread over devices or split.

Where the process has fewer devices, the tests run in another one that has them.
"""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from jax_resnet import train
from jax_resnet.data.augment import make_augment, make_mix
from jax_resnet.parallel import Plan, data_mesh

DEVICES = 4
needs_devices = pytest.mark.skipif(jax.device_count() < DEVICES, reason="run by test_in_a_process_with_four")
CLASSES = 5
AUGMENT = make_augment((0.4,) * 3, (0.3,) * 3, crop_padding=1, flip="alternating", cutout_size=2)
MIX = make_mix(CLASSES, mixup_alpha=0.8, cutmix_alpha=1.0)


class Linear(nn.Module):
    """A network without BatchNorm: its gradient over parts of a batch is that over the batch."""

    @nn.compact
    def __call__(self, images, *, train):
        return nn.Dense(CLASSES)(nn.relu(nn.Dense(7)(images.reshape(len(images), -1))))


MODEL, TX = Linear(), optax.sgd(0.1)


def batches(size, steps=3):
    rng = np.random.default_rng(0)
    return [
        {
            "image": rng.integers(0, 256, (size, 6, 6, 3), dtype=np.uint8),
            "label": rng.integers(0, CLASSES, size).astype(np.int32),
            "index": rng.permutation(100)[:size].astype(np.int32),
        }
        for _ in range(steps)
    ]


def train_on(plan, batches, mix, start=None, **options):
    """The state after the batches, and each step's metrics."""
    state = plan.place(start or train.create_state(MODEL, TX, jax.random.key(0), (6, 6, 3)))
    step = train.make_train_step(
        MODEL, TX, AUGMENT, mix=mix, axis_name=plan.axis_name, steps_per_epoch=2, **options
    )
    step = plan.train_step(step, state)
    found = []
    for batch in batches:
        state, metrics = step(state, batch)
        found.append({name: float(value) for name, value in metrics.items()})
    return state, found


def assert_same(found, expected):
    for one, other in zip(found[1], expected[1], strict=True):
        assert one["correct"] == other["correct"]
        np.testing.assert_allclose(one["loss"], other["loss"], rtol=1e-5)
        np.testing.assert_allclose(one["grad_norm"], other["grad_norm"], rtol=1e-4)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        found[0].params,
        expected[0].params,
    )


def alone(size):
    return train_on(Plan(data_mesh(jax.devices()[:1])), batches(size), MIX)


@pytest.mark.slow
@pytest.mark.skipif(jax.device_count() >= DEVICES, reason="this process has the devices")
def test_in_a_process_with_four():
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={DEVICES}"
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout[-3000:]
    assert "failed" not in result.stdout


@needs_devices
@pytest.mark.parametrize("mode", ["jit", "shard_map", "pmap"])
@pytest.mark.parametrize(("size", "accumulate"), [(8, 1), (DEVICES, 1), (16, 2)])
def test_devices_mix_as_one_does(mode, size, accumulate):
    found = train_on(Plan(data_mesh(), mode), batches(size), MIX, accumulate=accumulate)
    assert_same(found, alone(size))


@pytest.mark.parametrize(("size", "accumulate"), [(8, 2), (4, 4)])
@pytest.mark.slow
def test_parts_of_a_batch_mix_as_the_batch_does(size, accumulate):
    """Also parts of a single image, which has no other one beside it."""
    found = train_on(Plan(data_mesh(jax.devices()[:1])), batches(size), MIX, accumulate=accumulate)
    assert_same(found, alone(size))


@pytest.mark.slow
def test_the_step_mixes_each_image_with_the_one_before_it():
    """By hand: what the network sees is what augmentation and mixing give for the whole batch."""
    [batch] = batches(8, 1)
    state = train.create_state(MODEL, TX, jax.random.key(0), (6, 6, 3))
    augment_key = jax.random.split(jax.random.fold_in(state.key, 0))[0]
    keys = jax.vmap(jax.random.fold_in, (None, 0))(augment_key, batch["index"])
    images = AUGMENT(keys, batch["image"], index=batch["index"], epoch=jnp.int32(0))
    partners = jnp.roll(images, 1, 0), jnp.roll(batch["label"], 1)
    images, soft = MIX(keys, images, batch["label"], partners)
    logits = MODEL.apply({"params": state.params}, images, train=True)
    expected = float(optax.softmax_cross_entropy(logits, soft).sum())
    [metrics] = train_on(Plan(data_mesh(jax.devices()[:1])), [batch], MIX)[1]
    np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-5)


@pytest.mark.slow
def test_alternating_flips_follow_the_step_so_that_a_resumed_run_continues_bit_for_bit():
    plan = Plan(data_mesh(jax.devices()[:1]))
    some = batches(8, 5)
    whole, _ = train_on(plan, some, None)
    half, _ = train_on(plan, some[:3], None)
    half = jax.tree.map(
        lambda x: x if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else np.asarray(x), half
    )
    again, _ = train_on(plan, some[3:], None, start=half)
    jax.tree.map(np.testing.assert_array_equal, again.params, whole.params)
