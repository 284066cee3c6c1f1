"""A factor of the learning rate in the optimizer's state, to be lowered in the middle of a run."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jax_resnet.errors import TrainError

__all__ = ["RateState", "rate_factor", "scale_by_rate_factor", "with_rate_factor"]


class RateState(NamedTuple):
    """State of ``scale_by_rate_factor``.

    Attributes:
        rate_factor: Factor of the updates, float32 scalar.
    """

    rate_factor: jax.Array


def scale_by_rate_factor() -> optax.GradientTransformation:
    """Scales updates by a factor of 1 until ``with_rate_factor`` sets another.

    As the last part of a chain it is a factor of the learning rate: of weight decay too, not of momentum.
    """

    def init(params: Any) -> RateState:
        return RateState(jnp.ones((), jnp.float32))

    def update(updates: Any, state: RateState, params: Any = None) -> tuple[Any, RateState]:
        return jax.tree.map(lambda u: u * state.rate_factor.astype(u.dtype), updates), state

    return optax.GradientTransformation(init, update)


def rate_factor(opt_state: optax.OptState) -> float:
    """The factor in an optimizer's state, the smallest of several; 1 where there is none."""
    return min((float(factor) for factor in _factors(opt_state)), default=1.0)


def with_rate_factor(opt_state: optax.OptState, factor: float) -> optax.OptState:
    """An optimizer's state with another factor in place of all it has, on the devices where they are.

    Raises:
        TrainError: The state has none.
    """
    if not _factors(opt_state):
        raise TrainError("the optimizer's state has no rate_factor")

    def fill(old: jax.Array) -> jax.Array:  # each an array of its own: a donated state may hold none twice
        return jax.jit(lambda x: jnp.full_like(x, factor), out_shardings=old.sharding)(old)

    def replace(node: Any) -> Any:
        return RateState(fill(node.rate_factor)) if _is_rate_state(node) else node

    return jax.tree.map(replace, opt_state, is_leaf=_is_rate_state)


def _factors(opt_state: optax.OptState) -> list[jax.Array]:
    nodes = jax.tree.leaves(opt_state, is_leaf=_is_rate_state)
    return [node.rate_factor for node in nodes if _is_rate_state(node)]


def _is_rate_state(node: Any) -> bool:
    return isinstance(node, RateState)
