"""SGD, Adam and AdamW as in PyTorch."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jax_resnet.optim.schedules import Schedule

__all__ = ["ScalarOrSchedule", "ScheduledTraceState", "adam", "sgd"]

ScalarOrSchedule = float | Schedule


def sgd(
    learning_rate: ScalarOrSchedule,
    *,
    momentum: ScalarOrSchedule = 0.9,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    mask: Callable[[Any], Any] | None = None,
) -> optax.GradientTransformation:
    """``torch.optim.SGD``: weight decay is coupled, added to the gradient before momentum.

    ``g = grad + weight_decay * p``, ``m = momentum * m + g``, ``p -= learning_rate * m`` (Nesterov:
    ``p -= learning_rate * (g + momentum * m)``).

    >>> import jax, jax.numpy as jnp, optax
    >>> tx = sgd(0.1, momentum=0.9)
    >>> loss = lambda x: jnp.sum(x**2)
    >>> params = jnp.asarray([1.0, 2.0])
    >>> state = tx.init(params)
    >>> for _ in range(5):
    ...     updates, state = tx.update(jax.grad(loss)(params), state, params)
    ...     params = optax.apply_updates(params, updates)
    ...     print(f"{loss(params):.3f}")
    3.200
    1.058
    0.019
    0.476
    1.684

    Args:
        learning_rate: A number, or a schedule from the step to one.
        momentum: A number, 0 for none, or a schedule, such as ``one_cycle_momentum``.
        nesterov: Look ahead by one momentum step.
        weight_decay: On every parameter, BatchNorm's and biases too, unless ``mask`` says otherwise.
        mask: From parameters to a tree of booleans, true where weight decay applies: ``decay_mask``.

    Returns:
        An optax transformation.
    """
    if callable(momentum):
        trace = _scheduled_trace(momentum, nesterov)
    else:
        trace = optax.trace(momentum, nesterov) if momentum else optax.identity()
    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask) if weight_decay else optax.identity(),
        trace,
        optax.scale_by_learning_rate(learning_rate),
    )


class ScheduledTraceState(NamedTuple):
    """State of SGD with a momentum schedule.

    Attributes:
        steps: Steps so far, int32 scalar.
        trace: ``m``, a tree like the parameters.
    """

    steps: jax.Array
    trace: Any


def _scheduled_trace(momentum: Schedule, nesterov: bool) -> optax.GradientTransformation:
    """``optax.trace`` with a momentum that changes from step to step."""

    def init(params: Any) -> ScheduledTraceState:
        return ScheduledTraceState(jnp.zeros((), jnp.int32), jax.tree.map(jnp.zeros_like, params))

    def update(updates: Any, state: ScheduledTraceState, params: Any = None) -> tuple[Any, Any]:
        now = jnp.asarray(momentum(state.steps))  # a schedule of optax's may return a Python number

        def decayed(g: jax.Array, m: jax.Array) -> jax.Array:
            return g + now.astype(g.dtype) * m

        trace = jax.tree.map(decayed, updates, state.trace)
        new = jax.tree.map(decayed, updates, trace) if nesterov else trace
        return new, ScheduledTraceState(optax.safe_increment(state.steps), trace)

    return optax.GradientTransformation(init, update)


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
