"""Stochastic gradient descent as PyTorch does it, and learning-rate schedules."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

ScalarOrSchedule = float | Callable[[jax.Array], jax.Array]
Schedule = Callable[[Any], jax.Array]


def decay_mask(params: Any) -> Any:
    """Where weight decay belongs when BatchNorm and biases are left out: parameters of rank 2 or more."""
    return jax.tree.map(lambda p: p.ndim > 1, params)


def sgd(
    learning_rate: ScalarOrSchedule,
    *,
    momentum: float = 0.9,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    mask: Callable[[Any], Any] | None = None,
) -> optax.GradientTransformation:
    """``torch.optim.SGD``: weight decay is coupled, added to the gradient before momentum.

    ``g = grad + weight_decay * p``, ``m = momentum * m + g``, ``p -= learning_rate * m`` (Nesterov:
    ``p -= learning_rate * (g + momentum * m)``).

    Args:
        learning_rate: A number, or a schedule from the step to one.
        momentum: 0 for none.
        nesterov: Look ahead by one momentum step.
        weight_decay: On every parameter, BatchNorm's and biases too, unless ``mask`` says otherwise.
        mask: From parameters to a tree of booleans, true where weight decay applies: ``decay_mask``.

    Returns:
        An optax transformation.
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask) if weight_decay else optax.identity(),
        optax.trace(momentum, nesterov) if momentum else optax.identity(),
        optax.scale_by_learning_rate(learning_rate),
    )


def piecewise(base: float, boundaries: Sequence[int], factor: float = 0.1) -> Schedule:
    """``base * factor ** (boundaries at or before step)`` (He et al. 2015, section 4.2)."""
    # jnp.power would round: the rates are multiplied out here, in double precision.
    rates = jnp.asarray([base * factor**i for i in range(len(boundaries) + 1)], jnp.float32)
    edges = jnp.asarray(sorted(boundaries), jnp.int32)
    return lambda step: rates[jnp.searchsorted(edges, step, side="right")]


def cosine(base: float, steps: int) -> Schedule:
    """``base * (1 + cos(pi * step / steps)) / 2`` (Loshchilov and Hutter 2017, one period)."""
    return optax.cosine_decay_schedule(base, steps)


def one_cycle(
    peak: float, steps: int, *, peak_at: float = 0.3, start_factor: float = 25.0, end_factor: float = 1e4
) -> Schedule:
    """Up from ``peak / start_factor`` and down to that over ``end_factor``, each half a cosine.

    PyTorch's OneCycleLR (Smith and Topin 2018), peaking at the share ``peak_at`` of the steps.
    """
    return optax.cosine_onecycle_schedule(steps, peak, peak_at, start_factor, end_factor)


def warmup(schedule: Schedule, steps: int) -> Schedule:
    """``schedule(step) * min(1, (step + 1) / steps)`` (Goyal et al. 2017, section 2.2); milestones stay."""
    if steps == 0:
        return schedule
    return lambda step: schedule(step) * jnp.minimum(1.0, (step + 1) / steps)
