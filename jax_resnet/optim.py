"""SGD, Adam and AdamW as PyTorch does them, and learning-rate schedules."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

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


def adam(
    learning_rate: ScalarOrSchedule,
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    mask: Callable[[Any], Any] | None = None,
) -> optax.GradientTransformation:
    """``torch.optim.Adam`` (Kingma and Ba 2015); with ``decoupled``, AdamW (Loshchilov and Hutter 2019).

    ``m = b1 * m + (1 - b1) * g``, ``v = b2 * v + (1 - b2) * g**2``, after step ``t``
    ``p -= learning_rate * (m / (1 - b1**t)) / (sqrt(v / (1 - b2**t)) + eps)``. Coupled decay is in the
    gradient, ``g = grad + weight_decay * p``; decoupled decay is a step of its own, ``p -= learning_rate *
    weight_decay * p``.

    Args:
        learning_rate: A number, or a schedule from the step to one.
        betas: ``b1`` and ``b2``.
        eps: Added to the root.
        weight_decay: On every parameter, BatchNorm's and biases too, unless ``mask`` says otherwise.
        decoupled: Whether the decay bypasses the moments.
        mask: See ``sgd``.

    Returns:
        An optax transformation.
    """
    decay = optax.add_decayed_weights(weight_decay, mask) if weight_decay else optax.identity()
    moments = optax.scale_by_adam(*betas, eps)
    order = (moments, decay) if decoupled else (decay, moments)
    return optax.chain(*order, optax.scale_by_learning_rate(learning_rate))


class WarmUpState(NamedTuple):
    """Of ``warm_up_by_error``.

    Attributes:
        error: Smoothed training error, float32 scalar.
        learning_rate_scale: What updates are multiplied by, float32 scalar.
    """

    error: jax.Array
    learning_rate_scale: jax.Array


def warm_up_by_error(
    threshold: float, *, factor: float = 0.1, smoothing: float = 0.95
) -> optax.GradientTransformationExtraArgs:
    """Scales updates by ``factor`` until the training error has once been below ``threshold``.

    He et al. 2015, section 4.2: 110 layers start at 0.01 "until the training error is below 80% (about 400
    iterations)" and go on at 0.1. A batch's error is noisy, so that of the last batches is averaged:
    ``error = smoothing * error + (1 - smoothing) * batch_error``, from 1.

    Args:
        threshold: A share of the examples, 0 to 1.
        factor: Of the learning rate until then.
        smoothing: Weight of the past.

    Returns:
        An optax transformation whose ``update`` takes ``error``, the batch's share of wrong predictions.
    """

    def init(params: Any) -> WarmUpState:
        return WarmUpState(jnp.ones(()), jnp.asarray(factor, jnp.float32))

    def update(
        updates: Any, state: WarmUpState, params: Any = None, *, error: jax.Array, **extra: Any
    ) -> tuple[Any, WarmUpState]:
        smoothed = smoothing * state.error + (1 - smoothing) * error
        scale = jnp.where(smoothed < threshold, 1.0, state.learning_rate_scale)
        return jax.tree.map(lambda u: u * scale, updates), WarmUpState(smoothed, scale)

    return optax.GradientTransformationExtraArgs(init, update)


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
