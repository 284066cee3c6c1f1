"""Groups of parameters, chosen by their names: weight decay, freezing, learning rates.

Patterns are those of ``fnmatch``. A pattern matches a parameter if it matches one name on the parameter's
path, or the start of one up to an underscore: "head" matches ``head/kernel``, "bias" every bias, "stage1"
all of ``stage1_block1/...``, "stage*" all blocks. With a slash it matches the end of the path:
"stem_conv/kernel".
"""

import fnmatch
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import optax

from jax_resnet._text import did_you_mean
from jax_resnet.errors import TrainError

__all__ = ["decay_by_group", "decay_mask", "freeze", "matching", "scale_by_group"]

# Scales and biases of normalizations, and biases of all other layers. Their rank says nothing: where blocks
# run in a loop, or networks are stacked by vmap, they have leading axes.
_NOT_DECAYED = {"bias", "scale"}


def decay_mask(params: Any) -> Any:
    """A tree of booleans: True for weights; False for BatchNorm's parameters and for biases.

    The name decides: "scale" and "bias" are left out, and so is any parameter of rank 0 or 1.

    >>> import jax.numpy as jnp
    >>> params = {"conv": {"kernel": jnp.ones((3, 3, 1, 4))}, "norm": {"scale": jnp.ones(4)}}
    >>> print(decay_mask(params))
    {'conv': {'kernel': True}, 'norm': {'scale': False}}
    """

    def decayed(path: Any, p: Any) -> bool:
        names = _names(path)
        return p.ndim > 1 and not (names and names[-1] in _NOT_DECAYED)

    return jax.tree_util.tree_map_with_path(decayed, params)


def matching(params: Any, patterns: Iterable[str]) -> Any:
    """A tree of booleans: True for parameters that one of the patterns, or the only one, matches.

    Raises:
        TrainError: A pattern matches no parameter.
    """
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    _check_patterns(params, patterns)
    return jax.tree_util.tree_map_with_path(lambda path, _: any(_matches(path, p) for p in patterns), params)


def freeze(tx: optax.GradientTransformation, *patterns: str) -> optax.GradientTransformationExtraArgs:
    """An optimizer that leaves parameters as they are: ``freeze(sgd(0.1), "stem", "stage1", "stage2")``.

    ``p -= 0`` for parameters that a pattern matches, the optimizer's update for all others; frozen
    parameters have no momentum and no weight decay. The running statistics of their BatchNorms move all
    the same, unless the network has ``frozen=("stem", "stage1", "stage2")`` too.

    >>> import jax.numpy as jnp
    >>> from jax_resnet.optim import sgd
    >>> params = {"stem_conv": {"kernel": jnp.ones(2)}, "head": {"kernel": jnp.ones(2)}}
    >>> tx = freeze(sgd(0.1), "stem")
    >>> updates, _ = tx.update(params, tx.init(params), params)
    >>> print(updates["stem_conv"]["kernel"], updates["head"]["kernel"])
    [0. 0.] [-0.1 -0.1]

    Args:
        tx: The optimizer of the parameters that train.
        *patterns: Names of parameters or parts, see the module.

    Returns:
        An optax transformation; ``init`` raises TrainError if a pattern matches no parameter.
    """

    def labels(params: Any) -> Any:
        return jax.tree.map(lambda frozen: "frozen" if frozen else "trained", matching(params, patterns))

    return optax.partition({"trained": tx, "frozen": optax.set_to_zero()}, labels)


def decay_by_group(decays: Mapping[str, float]) -> optax.GradientTransformation:
    """Adds weight decay to the gradients of groups of parameters, each with its own coefficient.

    ``optax.chain(decay_by_group({"head": 0.01}), sgd(0.1, momentum=0.9))``: ``grad + decay * p`` with the
    coefficient of the first pattern that matches the parameter, in the mapping's order; ``grad`` where none
    does. Before the optimizer in a chain it is coupled weight decay, as ``sgd``'s own, to which it adds.

    >>> import jax.numpy as jnp, optax
    >>> from jax_resnet.optim import sgd
    >>> params = {"stem_conv": {"kernel": jnp.ones(2)}, "head": {"kernel": jnp.ones(2)}}
    >>> tx = optax.chain(decay_by_group({"head": 0.5}), sgd(0.1))
    >>> updates, _ = tx.update(params, tx.init(params), params)
    >>> print(updates["stem_conv"]["kernel"], updates["head"]["kernel"])
    [-0.1 -0.1] [-0.15 -0.15]

    Args:
        decays: From patterns, see the module, to coefficients.

    Returns:
        A stateless optax transformation; ``init`` raises TrainError if a pattern matches no parameter.

    Raises:
        TrainError: A coefficient is not finite.
    """
    _check_finite(decays)

    def update(updates: Any, state: optax.EmptyState, params: Any = None) -> tuple[Any, optax.EmptyState]:
        own = _values_of(updates, decays, 0.0)
        return jax.tree.map(lambda u, p, decay: u + decay * p if decay else u, updates, params, own), state

    return optax.GradientTransformation(_checking_init(decays), update)


def scale_by_group(factors: Mapping[str, float]) -> optax.GradientTransformation:
    """Multiplies the updates of groups of parameters, and so their learning rates.

    ``optax.chain(sgd(0.1), scale_by_group({"head": 10.0, "bias": 2.0}))``: ``update * factor`` with the
    factor of the first pattern that matches the parameter, in the mapping's order; 1 where none does. After
    the optimizer in a chain it multiplies the learning rate; decoupled weight decay, which goes with the
    learning rate, is multiplied too.

    >>> import jax.numpy as jnp, optax
    >>> from jax_resnet.optim import sgd
    >>> params = {"stem_conv": {"kernel": jnp.ones(2)}, "head": {"kernel": jnp.ones(2)}}
    >>> tx = optax.chain(sgd(0.1), scale_by_group({"head": 10.0}))
    >>> updates, _ = tx.update(params, tx.init(params), params)
    >>> print(updates["stem_conv"]["kernel"], updates["head"]["kernel"])
    [-0.1 -0.1] [-1. -1.]

    Args:
        factors: From patterns, see the module, to factors.

    Returns:
        A stateless optax transformation; ``init`` raises TrainError if a pattern matches no parameter.

    Raises:
        TrainError: A factor is not finite.
    """
    _check_finite(factors)

    def update(updates: Any, state: optax.EmptyState, params: Any = None) -> tuple[Any, optax.EmptyState]:
        return jax.tree.map(lambda u, factor: u * factor, updates, _values_of(updates, factors, 1.0)), state

    return optax.GradientTransformation(_checking_init(factors), update)


def _check_finite(values: Mapping[str, float]) -> None:
    for pattern, value in values.items():
        if not math.isfinite(value):
            raise TrainError(f"{pattern} has a finite number, not {value}")


def _checking_init(patterns: Iterable[str]) -> Callable[[Any], optax.EmptyState]:
    """The ``init`` of a stateless transformation, which looks for a parameter of each pattern."""

    def init(params: Any) -> optax.EmptyState:
        _check_patterns(params, patterns)
        return optax.EmptyState()

    return init


def _values_of(params: Any, values: Mapping[str, float], default: float) -> Any:
    """A tree of numbers: the value of the first pattern that matches, ``default`` where none does."""

    def value_at(path: Any, _: Any) -> float:
        return next((value for pattern, value in values.items() if _matches(path, pattern)), default)

    return jax.tree_util.tree_map_with_path(value_at, params)


def _names(path: Any) -> list[str]:
    """The names on a path. ``value``, in which Flax NNX wraps every parameter, is not one of them."""
    keys = [getattr(key, "key", getattr(key, "name", getattr(key, "idx", ""))) for key in path]
    return [str(key) for key in keys if key != "value"]


def _matches(path: Any, pattern: str) -> bool:
    names = _names(path)
    if "/" in pattern:
        end = "/".join(names[-pattern.count("/") - 1 :])
        return fnmatch.fnmatchcase(end, pattern)
    return any(fnmatch.fnmatchcase(name, p) for name in names for p in (pattern, f"{pattern}_*"))


def _check_patterns(params: Any, patterns: Iterable[str]) -> None:
    """Raises TrainError for a pattern that matches no parameter; a misspelled name would train silently."""
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]]
    for pattern in patterns:
        if not any(_matches(path, pattern) for path in paths):
            names = dict.fromkeys(name for path in paths for name in _names(path))
            hint = did_you_mean(pattern, names) or f"there are {', '.join(list(names)[:8])}, ..."
            raise TrainError(f"no parameter matches {pattern!r}; {hint}")
