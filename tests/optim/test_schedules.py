"""Learning-rate schedules against their closed forms, and OneCycleLR against PyTorch."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_resnet import optim
from jax_resnet.errors import TrainError

STEPS = 40


def cosine(t):
    return 0.3 * (1 + math.cos(math.pi * t / STEPS)) / 2


def one_cycle(t, steps=STEPS, peak_at=0.3, values=(0.3 / 25, 0.3, 0.3 / 25 / 1e4)):
    """PyTorch's documented OneCycleLR: peak at step ``peak_at * steps - 1``, end at ``steps - 1``."""
    low, peak, end = values
    top = peak_at * steps - 1
    if t <= top:
        return peak + (low - peak) * (1 + math.cos(math.pi * t / top)) / 2
    return end + (peak - end) * (1 + math.cos(math.pi * (t - top) / (steps - 1 - top))) / 2


@pytest.mark.parametrize(
    ("schedule", "closed_form"),
    [
        (optim.piecewise(0.3, [20, 30]), lambda t: 0.3 * 0.1 ** ((t >= 20) + (t >= 30))),
        (optim.piecewise(0.3, []), lambda t: 0.3),
        (optim.piecewise(0.3, [10, 20, 30], 0.5), lambda t: 0.3 * 0.5 ** (t // 10)),
        (optim.cosine(0.3, STEPS), cosine),
        (optim.one_cycle(0.3, STEPS), one_cycle),
        (optim.warmup(optim.cosine(0.3, STEPS), 8), lambda t: cosine(t) * min(1, (t + 1) / 8)),
        (optim.warmup(optim.piecewise(0.3, [20]), 5), lambda t: min(1, (t + 1) / 5) * 0.3 * 0.1 ** (t >= 20)),
        (optim.warmup(optim.cosine(0.3, STEPS), 0), cosine),
    ],
    ids=["piecewise", "constant", "half", "cosine", "one-cycle", "warm-cosine", "warm-step", "no-warmup"],
)
def test_schedules_equal_their_closed_forms_at_every_step(schedule, closed_form):
    found = jax.vmap(schedule)(jnp.arange(STEPS))
    np.testing.assert_allclose(found, [closed_form(t) for t in range(STEPS)], rtol=2e-5, atol=1e-8)


CASES = [
    (40, 0.3, 25.0, 1e4),
    (391 * 3, 0.3, 25.0, 1e4),
    (97, 0.25, 10.0, 100.0),
    (10, 0.5, 4.0, 1.0),
    (7, 0.9, 25.0, 1e4),
    (12, 0.05, 25.0, 1e4),
    (2, 0.3, 25.0, 1e4),
    (1000, 0.123, 25.0, 1e4),
]


@pytest.mark.parametrize(("steps", "peak_at", "start", "end"), CASES)
def test_one_cycle_equals_pytorch_at_every_step(steps, peak_at, start, end):
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0, momentum=0.9)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=0.3,
        total_steps=steps,
        pct_start=peak_at,
        div_factor=start,
        final_div_factor=end,
        base_momentum=0.8,
        max_momentum=0.95,
    )
    rates, momenta = [], []
    for step in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        momenta.append(optimizer.param_groups[0]["momentum"])
        optimizer.step()
        if step < steps - 1:
            theirs.step()
    ours = optim.one_cycle(0.3, steps, peak_at=peak_at, start_factor=start, end_factor=end)
    momentum = optim.one_cycle_momentum(steps, peak_at=peak_at, low=0.8, high=0.95)
    found = jax.vmap(ours)(jnp.arange(steps))
    np.testing.assert_allclose(found, rates, rtol=2e-5, atol=1e-8)
    np.testing.assert_allclose(jax.vmap(momentum)(jnp.arange(steps)), momenta, rtol=2e-6)


@pytest.mark.parametrize(("steps", "peak_at", "start", "end"), CASES)
def test_one_cycle_equals_its_closed_form_at_every_step(steps, peak_at, start, end):
    ours = optim.one_cycle(0.3, steps, peak_at=peak_at, start_factor=start, end_factor=end)
    values = (0.3 / start, 0.3, 0.3 / start / end)
    expected = [one_cycle(t, steps, peak_at, values) for t in range(steps)]
    np.testing.assert_allclose(jax.vmap(ours)(jnp.arange(steps)), expected, rtol=2e-5, atol=1e-8)


def test_one_cycle_peaks_and_ends_where_pytorchs_does():
    schedule = optim.one_cycle(0.3, 40)
    found = jax.vmap(schedule)(jnp.arange(60))
    assert int(jnp.argmax(found)) == 11  # 0.3 * 40 - 1
    assert float(found[11]) == pytest.approx(0.3, rel=1e-6)
    np.testing.assert_allclose(found[39:], 0.3 / 25 / 1e4, rtol=1e-5)


@pytest.mark.parametrize(("steps", "peak_at"), [(1, 0.0), (1, 1.0), (10, 0.0), (10, 0.1), (10, 1.0)])
def test_one_cycle_of_a_phase_without_steps_is_finite(steps, peak_at):
    found = jax.vmap(optim.one_cycle(0.3, steps, peak_at=peak_at))(jnp.arange(steps + 2))
    assert np.isfinite(found).all()
    assert float(found.max()) <= 0.3 * (1 + 1e-6)


@pytest.mark.parametrize(
    ("steps", "peak_at", "message"),
    [
        (0, 0.3, "one cycle has at least one step, not 0"),
        (-1, 0.3, "one cycle has at least one step, not -1"),
        (10, -0.1, "peak_at is from 0 to 1, not -0.1"),
        (10, 1.1, "peak_at is from 0 to 1, not 1.1"),
    ],
)
def test_one_cycle_that_cannot_be_is_refused(steps, peak_at, message):
    with pytest.raises(ValueError, match=message):
        optim.one_cycle(0.3, steps, peak_at=peak_at)


@pytest.mark.parametrize("make", [optim.linear, optim.cosine])
def test_schedules_without_steps_are_refused(make):
    with pytest.raises(TrainError, match="has at least one step, not 0"):
        make(0.1, 0)
    with pytest.raises(TrainError, match="a warm-up has at least 0 steps, not -5"):
        optim.warmup(make(0.1, 10), -5)


def test_linear_reaches_0_at_the_end():
    schedule = optim.linear(0.4, 4)
    np.testing.assert_allclose([schedule(step) for step in range(6)], [0.4, 0.3, 0.2, 0.1, 0, 0], atol=1e-7)


def test_schedules_of_optax_serve_where_ours_do():
    constant = optax.constant_schedule(0.4)  # returns a Python number
    np.testing.assert_allclose(optim.warmup(constant, 4)(1), 0.2, rtol=1e-6)
    by_schedule, by_number = (optim.sgd(0.1, momentum=momentum) for momentum in (constant, 0.4))
    params, state, other = jnp.zeros(2), by_schedule.init(jnp.zeros(2)), by_number.init(jnp.zeros(2))
    for _ in range(3):
        updates, state = by_schedule.update(jnp.ones(2), state, params)
        expected, other = by_number.update(jnp.ones(2), other, params)
        np.testing.assert_allclose(updates, expected, rtol=1e-6)


def test_steps_in_64_bits_have_rates_in_64_bits():
    with jax.enable_x64(True):
        assert float(optim.piecewise(0.1, [10])(3)) == 0.1
