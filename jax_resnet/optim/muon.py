"""Muon: momentum whose matrices are made orthogonal, for the kernels of convolutions."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from optax.contrib import MuonDimensionNumbers, scale_by_muon

from jax_resnet.optim.optimizers import ScalarOrSchedule, sgd

__all__ = ["muon", "normalize_filters", "then_normalize"]

# A kernel HWIO as a matrix: one column per output, whatever axes a loop over blocks puts in front.
_AS_MATRIX = MuonDimensionNumbers(reduction_axis=(-4, -3, -2), output_axis=(-1,))


def muon(
    learning_rate: ScalarOrSchedule,
    *,
    momentum: float = 0.6,
    nesterov: bool = True,
    iterations: int = 3,
    weight_decay: float = 0.0,
    mask: Callable[[Any], Any] | None = None,
    normalize: bool = True,
) -> optax.GradientTransformation:
    """Muon (Jordan et al. 2024) on the kernels of convolutions, SGD on everything else.

    A kernel is first scaled to the norm ``sqrt(outputs)``, then moved by ``learning_rate`` times the nearest
    orthogonal matrix to its momentum, found by ``iterations`` of Newton and Schulz: the optimizer of
    airbench94_muon. All other parameters, biases, BatchNorm's and the head, are ``sgd``'s at the same
    learning rate; ``scale_by_group({"head": ..., "bias": ...})`` after this gives them rates of their own,
    as they need. What scales the updates of kernels must come before the scaling to the norm, which is no
    step: ``then_normalize(optax.chain(muon(0.24, normalize=False), scale_by_group({"stage1": 0.5})))``.

    Args:
        learning_rate: A number, or a schedule from the step to one; 0.24 in airbench94_muon.
        momentum: Momentum of Muon and of SGD, a number.
        nesterov: Look ahead by one momentum step, in both.
        iterations: Newton-Schulz iterations.
        weight_decay: Weight decay of the parameters that SGD trains, see ``sgd``; kernels keep their norm.
        mask: See ``sgd``.
        normalize: Scale the kernels to their norm. False leaves that to ``then_normalize``.

    Returns:
        An optax transformation.
    """
    kernels = optax.chain(
        scale_by_muon(
            ns_steps=iterations,
            beta=momentum,
            nesterov=nesterov,
            weight_dimension_numbers=lambda tree: jax.tree.map(lambda _: _AS_MATRIX, tree),
        ),
        optax.scale_by_learning_rate(learning_rate),
        optax.identity(),  # where the norm was: the states of earlier checkpoints fit
    )
    others = sgd(learning_rate, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay, mask=mask)

    def labels(params: Any) -> Any:
        return jax.tree.map(lambda p: "kernels" if p.ndim >= 4 else "others", params)

    tx = optax.partition({"kernels": kernels, "others": others}, labels)
    return then_normalize(tx) if normalize else tx


def then_normalize(tx: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """``optax.chain(tx, normalize_filters())`` with the state of ``tx`` alone."""
    tx, last = optax.with_extra_args_support(tx), normalize_filters()

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        updates, state = tx.update(updates, state, params, **extra)
        return last.update(updates, optax.EmptyState(), params)[0], state

    return optax.GradientTransformationExtraArgs(tx.init, update)


def normalize_filters() -> optax.GradientTransformation:
    """Scales kernels ``(..., H, W, in, out)`` to the norm ``sqrt(out)`` before the update is added.

    Last in a chain: ``update + p * (sqrt(out) / |p| - 1)``. Parameters of fewer axes are left alone.
    """

    def update(updates: Any, state: optax.EmptyState, params: Any = None) -> tuple[Any, optax.EmptyState]:
        def moved(u: jax.Array, p: jax.Array) -> jax.Array:
            if p.ndim < 4:
                return u
            norm = jnp.sqrt(jnp.sum(jnp.square(p), (-4, -3, -2, -1), keepdims=True))
            return u + p * (jnp.sqrt(p.shape[-1]) / jnp.maximum(norm, 1e-12) - 1).astype(p.dtype)

        return jax.tree.map(moved, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
