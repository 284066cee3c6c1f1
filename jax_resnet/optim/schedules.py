"""Schedules: functions from the step, counted from 0, to a learning rate or a momentum.

They take a step as an integer or an integer array, and return floats of its shape, float32 unless JAX
computes in 64 bits.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jax_resnet.errors import TrainError

__all__ = ["Schedule", "cosine", "linear", "one_cycle", "one_cycle_momentum", "piecewise", "warmup"]

Schedule = Callable[[Any], jax.Array]


def piecewise(base: float, boundaries: Sequence[int], factor: float = 0.1) -> Schedule:
    """``base * factor ** (boundaries at or before step)`` (He et al. 2015, section 4.2)."""
    # jnp.power would round: the rates are multiplied out here, in double precision.
    rates = [base * factor**i for i in range(len(boundaries) + 1)]
    edges = sorted(boundaries)

    def schedule(step: Any) -> jax.Array:
        passed = jnp.searchsorted(jnp.asarray(edges, jnp.int32), jnp.asarray(step, jnp.int32), side="right")
        return jnp.asarray(rates, jnp.result_type(float))[passed]

    return schedule


def cosine(base: float, steps: int) -> Schedule:
    """``base * (1 + cos(pi * step / steps)) / 2`` (Loshchilov and Hutter 2017, one period).

    Raises:
        TrainError: ``steps`` is below 1.
    """
    _check_steps("a cosine", steps)
    schedule = optax.cosine_decay_schedule(base, steps)
    return lambda step: schedule(jnp.asarray(step, jnp.result_type(float)))


def linear(base: float, steps: int) -> Schedule:
    """``base * (1 - step / steps)``, 0 from ``steps`` on.

    Raises:
        TrainError: ``steps`` is below 1.
    """
    _check_steps("a linear schedule", steps)
    schedule = optax.linear_schedule(base, 0.0, steps)
    return lambda step: schedule(jnp.asarray(step, jnp.result_type(float)))


def _check_steps(what: str, steps: int) -> None:
    if steps < 1:
        raise TrainError(f"{what} has at least one step, not {steps}")


def one_cycle(
    peak: float, steps: int, *, peak_at: float = 0.3, start_factor: float = 25.0, end_factor: float = 1e4
) -> Schedule:
    """``torch.optim.lr_scheduler.OneCycleLR`` (Smith and Topin 2018), step by step.

    Up from ``peak / start_factor`` at step 0 to ``peak`` at step ``peak_at * steps - 1``, then down to
    ``peak / start_factor / end_factor`` at the last step, ``steps - 1``: each phase half a cosine.

    >>> schedule = one_cycle(0.1, 10)
    >>> print([f"{float(schedule(step)):.4f}" for step in range(10)])
    ['0.0040', '0.0520', '0.1000', '0.0950', '0.0812', '0.0611', '0.0389', '0.0188', '0.0050', '0.0000']

    Args:
        peak: The largest learning rate; PyTorch's ``max_lr``.
        steps: Steps in all; PyTorch's ``total_steps``. Later steps have the last one's learning rate.
        peak_at: The fraction of the steps at which the peak is; PyTorch's ``pct_start``.
        start_factor: Peak over initial learning rate; PyTorch's ``div_factor``.
        end_factor: Initial over last learning rate; PyTorch's ``final_div_factor``.

    Returns:
        A function from step to learning rate. ``one_cycle_momentum`` is the momentum that goes with it.

    Raises:
        TrainError: ``steps`` is below 1, or ``peak_at`` is not between 0 and 1.
    """
    start = peak / start_factor
    return _two_phases(steps, peak_at, (start, peak, start / end_factor))


def one_cycle_momentum(
    steps: int, *, peak_at: float = 0.3, low: float = 0.85, high: float = 0.95
) -> Schedule:
    """The momentum of ``OneCycleLR`` with ``cycle_momentum=True``: from ``high`` to ``low`` and back.

    It is lowest where the learning rate is highest: ``sgd(one_cycle(0.1, 1000),
    momentum=one_cycle_momentum(1000))``.

    >>> momentum = one_cycle_momentum(10)
    >>> print([f"{float(momentum(step)):.3f}" for step in range(10)])
    ['0.950', '0.900', '0.850', '0.855', '0.869', '0.889', '0.911', '0.931', '0.945', '0.950']

    Args:
        steps: Steps in all, see ``one_cycle``.
        peak_at: The fraction of the steps at which the learning rate peaks.
        low: Momentum at the learning rate's peak; PyTorch's ``base_momentum``.
        high: Momentum at both ends; PyTorch's ``max_momentum``.

    Raises:
        TrainError: ``steps`` is below 1, or ``peak_at`` is not between 0 and 1.
    """
    return _two_phases(steps, peak_at, (high, low, high))


def _two_phases(steps: int, peak_at: float, values: tuple[float, float, float]) -> Schedule:
    """Half a cosine from the first value to the second, and half a cosine to the third."""
    _check_steps("one cycle", steps)
    if not 0 <= peak_at <= 1:
        raise TrainError(f"peak_at is from 0 to 1, not {peak_at}")
    first, middle, last = values
    turn, end = peak_at * steps - 1, steps - 1
    # Where a phase has no step, its length plays no role but must not be 0.
    lengths = max(turn, 1e-6), max(end - turn, 1e-6)

    def schedule(step: Any) -> jax.Array:
        step = jnp.asarray(step, jnp.result_type(float))
        rising = (step <= turn) & (turn > 0)
        done = jnp.where(rising, step / lengths[0], (step - turn) / lengths[1])
        begin, finish = jnp.where(rising, first, middle), jnp.where(rising, middle, last)
        # cos(x)**2 is (1 + cos(2 * x)) / 2 without its cancellation at the end.
        return finish + (begin - finish) * jnp.square(jnp.cos(jnp.pi / 2 * jnp.clip(done, 0.0, 1.0)))

    return schedule


def warmup(schedule: Schedule, steps: int) -> Schedule:
    """``schedule(step) * min(1, (step + 1) / steps)`` (Goyal et al. 2017, section 2.2); milestones stay.

    Raises:
        TrainError: ``steps`` is negative; 0 is no warm-up.
    """
    if steps < 0:
        raise TrainError(f"a warm-up has at least 0 steps, not {steps}")
    if steps == 0:
        return schedule

    def warmed_up(step: Any) -> jax.Array:
        rate = jnp.asarray(schedule(step))  # a schedule of optax's may return a Python number
        return rate * jnp.minimum(1.0, (jnp.asarray(step, rate.dtype) + 1) / steps)

    return warmed_up
