"""Moving averages of variables, in a step and in a checkpoint."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_resnet import checkpoint, optim, train
from jax_resnet.averaging import moving_average
from jax_resnet.data.augment import make_augment
from jax_resnet.models import create_model
from tests.helpers.strict import strict_dtypes

__all__ = ["strict_dtypes"]

CONFIG = {"model": {"name": "resnet8"}, "data": {}}


@pytest.mark.parametrize("decay", [0.5, 0.99])
def test_the_average_is_its_closed_form(decay):
    values = np.random.default_rng(0).standard_normal((30, 4)).astype(np.float32)
    average = jnp.asarray(values[0])
    for step, value in enumerate(values[1:], 1):
        average = moving_average(average, jnp.asarray(value), jnp.asarray(step), decay)
    decays = np.array([min(decay, (1 + step) / (10 + step)) for step in range(1, 30)])
    # A value's weight is what it got when it came, times all the decays since.
    weights = np.concatenate([[1.0], 1 - decays]) * np.append(np.cumprod(decays[::-1])[::-1], 1.0)
    assert weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(average, weights @ values.astype(np.float64), rtol=1e-4, atol=1e-5)


def test_what_does_not_change_stays_as_it_is_bit_for_bit():
    value = jnp.asarray(np.random.default_rng(0).standard_normal(1000), jnp.float32)
    average = value
    for step in range(1, 100):
        average = moving_average(average, value, jnp.asarray(step), 0.999)
    np.testing.assert_array_equal(average, value)


@pytest.fixture(scope="module", params=["resnet8", "mnist_cnn"])
def training(request):
    """A step and its first state, with an average; a batch."""
    model = create_model(request.param)
    shape = (28, 28, 1) if request.param == "mnist_cnn" else (16, 16, 3)
    tx = optim.sgd(0.05)
    state = train.create_state(model, tx, jax.random.key(0), shape).averaging()
    augment = make_augment((0.5,) * shape[-1], (0.25,) * shape[-1], crop_padding=2, flip=True)
    step = jax.jit(train.make_train_step(model, tx, augment, ema=0.9), donate_argnums=0)
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.integers(0, 256, (8, *shape), dtype=np.uint8),
        "label": rng.integers(0, 10, 8).astype(np.int32),
        "index": np.arange(8, dtype=np.int32),
    }
    return step, state, batch


@pytest.mark.slow
def test_parameters_and_statistics_are_averaged_and_neither_is_disturbed(training):
    step, start, batch = training
    state, expected = jax.tree.map(jnp.copy, start), jax.tree.map(np.array, start.variables)
    plain = jax.tree.map(jnp.copy, start).replace(average=None)
    for number in range(1, 4):
        state, _ = step(state, batch)
        plain, _ = step(plain, batch)
        expected = jax.tree.map(
            np.asarray, moving_average(expected, state.variables, jnp.asarray(number), 0.9)
        )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), state.eval_variables, expected
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), state.variables, plain.variables)


def test_a_checkpoint_shows_the_average_and_training_goes_on_from_the_rest(training, tmp_path):
    step, start, batch = training
    state, _ = step(jax.tree.map(jnp.copy, start), batch)
    checkpointer = checkpoint.Checkpointer(tmp_path)
    checkpointer.save(state, CONFIG)
    checkpointer.close()
    restored = checkpoint.Checkpointer(tmp_path).restore(start)
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    on, _ = step(jax.tree.map(jnp.copy, state), batch)
    again, _ = step(restored, batch)
    jax.tree.map(np.testing.assert_array_equal, again.replace(key=0), on.replace(key=0))
    if "stem_conv" in state.params:
        shown = checkpoint.restore(tmp_path).variables
        jax.tree.map(np.testing.assert_array_equal, shown, state.eval_variables)
