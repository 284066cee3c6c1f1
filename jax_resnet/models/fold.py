"""Folding BatchNorm into the convolution before it, for inference."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from jax_resnet.errors import ModelError

__all__ = ["fold_batch_norm"]


@np.errstate(all="ignore")  # damaged statistics become NaN in silence, as they do in the network
def fold_batch_norm(model: nn.Module, variables: Mapping[str, Any]) -> tuple[nn.Module, dict[str, Any]]:
    """Folds each BatchNorm that follows a convolution into it: fewer operations, the same logits.

    A convolution and then ``(y - mean) * factor + bias``, with ``factor = scale / sqrt(var + epsilon)``, is
    the convolution with ``factor`` times its weights and the bias ``bias - factor * mean``. The BatchNorms
    of a pre-activation network that follow a sum stay, since the sum feeds the shortcut too.

    Args:
        model: A trained network, with ``scan_layers`` or without.
        variables: Its ``{"params", "batch_stats"}``.

    Returns:
        The same network with ``folded=True`` and the variables for it; to be called with ``train=False``.
        Kernels have the network's ``dtype`` where that is smaller than theirs.

    Raises:
        ModelError: The network has no BatchNorm, or is folded already; or one that follows a max-pool has a
            scale that is not positive.
    """
    if getattr(model, "folded", False):
        raise ModelError("the network is folded already")
    if not hasattr(model, "folded") or not variables.get("batch_stats"):
        raise ModelError(f"this {type(model).__name__} has no BatchNorm to fold")
    epsilon = getattr(model, "norm_epsilon", 1e-5)
    shift = 1 if getattr(model, "preactivation", False) else 0
    params = {path: np.asarray(value) for path, value in flatten_dict(variables["params"]).items()}
    stats = {path: np.asarray(value) for path, value in flatten_dict(variables["batch_stats"]).items()}

    for path in [path[:-1] for path in stats if path[-1] == "var"]:
        conv = _convolution_before(path, shift)
        if (*conv, "kernel") not in params:
            continue
        # In double precision, so that folding itself costs no accuracy.
        scale, bias = (params.pop((*path, leaf)).astype(np.float64) for leaf in ("scale", "bias"))
        if path[-1] in getattr(model, "pooled_norms", ()) and (scale <= 0).any():
            raise ModelError(
                f"{path[-1]} follows a max-pool: scales that are not positive cannot be folded past it"
            )
        mean, var = (stats.pop((*path, leaf)).astype(np.float64) for leaf in ("mean", "var"))
        factor = scale / np.sqrt(var + epsilon)
        kernel = params[(*conv, "kernel")]
        old_bias = params.get((*conv, "bias"), 0.0)
        # The blocks of a loop have a leading axis, of the same length in all of these.
        spread = factor.reshape(*factor.shape[:-1], 1, 1, 1, factor.shape[-1])
        params[(*conv, "kernel")] = (kernel * spread).astype(kernel.dtype)
        params[(*conv, "bias")] = ((old_bias - mean) * factor + bias).astype(kernel.dtype)
    # Every convolution of a folded network has a bias; linear layers, of rank 2, have theirs.
    for path in [path for path, value in params.items() if path[-1] == "kernel" and value.ndim >= 4]:
        kernel = params[path]
        params.setdefault(
            (*path[:-1], "bias"), np.zeros((*kernel.shape[:-4], kernel.shape[-1]), kernel.dtype)
        )
        params[path] = _narrowed(kernel, getattr(model, "dtype", None))
    folded = {"params": unflatten_dict(params), "batch_stats": unflatten_dict(stats)}
    return model.clone(folded=True), folded


def _narrowed(kernel: np.ndarray, dtype: Any) -> np.ndarray:
    """In the computation type if that is the smaller one: else every call would round all weights to it."""
    smaller = dtype is not None and np.dtype(dtype).itemsize < kernel.itemsize
    return kernel.astype(dtype) if smaller else kernel


def _convolution_before(norm: tuple[str, ...], shift: int) -> tuple[str, ...]:
    """Path of the convolution that a BatchNorm follows; pre-activation blocks number it one less."""
    *block, name = norm
    shift = shift if block else 0
    name = re.sub(r"(?<=norm)\d+$", lambda number: str(int(number[0]) - shift), name)
    return (*block, name.replace("norm", "conv"))
