"""The activation function of a network: ReLU inside the normalization, any other after it."""

from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn

from jax_resnet._text import did_you_mean
from jax_resnet.errors import ModelError

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "check_activation",
    "find_activation",
    "gelu",
    "normalize_and_activate",
]

Activation = Callable[[jax.Array], jax.Array]


def gelu(x: jax.Array) -> jax.Array:
    """``x * Phi(x)``, as PyTorch's ``nn.GELU()``; Flax's default approximates it by a tanh."""
    return nn.gelu(x, approximate=False)


# Names for configurations that JSON must hold; any other function is given itself.
ACTIVATIONS: dict[str, Activation] = {
    "celu": nn.celu,
    "elu": nn.elu,
    "gelu": gelu,
    "gelu_tanh": nn.gelu,
    "hard_swish": nn.hard_swish,
    "leaky_relu": nn.leaky_relu,
    "mish": jax.nn.mish,
    "relu": nn.relu,
    "relu6": nn.relu6,
    "selu": nn.selu,
    "sigmoid": nn.sigmoid,
    "silu": nn.silu,
    "softplus": nn.softplus,
    "swish": nn.silu,
    "tanh": nn.tanh,
}


def find_activation(act: str | Activation) -> Activation:
    """Returns the function that a name in ``ACTIVATIONS`` stands for; a function is returned as it is.

    Raises:
        ModelError: There is no such name, with near misses, or ``act`` is neither name nor function.
    """
    if isinstance(act, str) and act not in ACTIVATIONS:
        hint = did_you_mean(act, ACTIVATIONS) or f"there are {', '.join(ACTIVATIONS)}"
        raise ModelError(f"no activation is called {act!r}; {hint}")
    function = ACTIVATIONS[act] if isinstance(act, str) else act
    check_activation(function)
    return function


def check_activation(act: Any) -> None:
    """Raises ModelError unless ``act`` is a function."""
    if not callable(act) or isinstance(act, type):
        raise ModelError(f"act is a function from an array to an array, such as jax.nn.silu, not {act!r}")


def normalize_and_activate(
    norm: nn.Module, x: jax.Array, act: Activation, *, train: bool, residual: jax.Array | None = None
) -> jax.Array:
    """``act(norm(x) + residual)``.

    ReLU is left to the normalization, which computes all three in one pass over memory.
    """
    if act is nn.relu:
        return norm(x, train=train, residual=residual, relu=True)
    return act(norm(x, train=train, residual=residual))
