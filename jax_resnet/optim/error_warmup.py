"""Warm-up that lasts until the training error is low enough (He et al. 2015)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

__all__ = ["WarmUpState", "warm_up_by_error"]


class WarmUpState(NamedTuple):
    """State of ``warm_up_by_error``.

    Attributes:
        error: Smoothed training error, float32 scalar.
        learning_rate_scale: Factor of the updates, float32 scalar.
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
        threshold: A fraction of the examples, 0 to 1.
        factor: Factor of the learning rate until then.
        smoothing: Weight of the past.

    Returns:
        An optax transformation whose ``update`` takes ``error``, the batch's fraction of wrong predictions.
    """

    def init(params: Any) -> WarmUpState:
        return WarmUpState(jnp.ones((), jnp.float32), jnp.asarray(factor, jnp.float32))

    def update(
        updates: Any, state: WarmUpState, params: Any = None, *, error: jax.Array, **extra: Any
    ) -> tuple[Any, WarmUpState]:
        error = jnp.asarray(error, state.error.dtype)
        smoothed = smoothing * state.error + (1 - smoothing) * error
        scale = jnp.where(smoothed < threshold, 1.0, state.learning_rate_scale)
        scaled = jax.tree.map(lambda u: u * scale.astype(u.dtype), updates)
        return scaled, WarmUpState(smoothed, scale)

    return optax.GradientTransformationExtraArgs(init, update)
