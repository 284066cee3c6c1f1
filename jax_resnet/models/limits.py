"""Checks of network options that run before anything is built, with one clear line each."""

import math
import numbers
import operator
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jax_resnet._text import did_you_mean
from jax_resnet.errors import ModelError

__all__ = [
    "MAX_CHANNELS",
    "MAX_LAYERS",
    "check_channels",
    "check_choice",
    "check_classes",
    "check_count",
    "check_dtype",
    "check_layers",
    "check_norm_options",
    "check_probability",
    "check_stages",
    "check_widths",
    "chosen_parts",
]

# Far above every published network (1,202 layers; 8,192 channels), and far below what fills a machine's
# memory before the first error.
MAX_LAYERS = 10_000
MAX_CHANNELS = 32_768


def check_count(name: str, value: Any, least: int) -> int:
    """Returns ``value`` as an int.

    Raises:
        ModelError: It is not an integer, or below ``least``.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if isinstance(value, bool) or number < least:
        raise ModelError(f"{name} is an integer of at least {least}, not {value!r}")
    return number


def check_classes(num_classes: Any) -> None:
    """Raises ModelError unless ``num_classes`` is an integer of at least 0."""
    try:
        check_count("num_classes", num_classes, 0)
    except ModelError as error:
        raise ModelError(f"{error}; 0 leaves out the head") from None


def check_layers(layers: int) -> None:
    """Raises ModelError if a network has more than ``MAX_LAYERS`` layers."""
    if layers > MAX_LAYERS:
        raise ModelError(f"{layers:,} layers are more than the cap of {MAX_LAYERS:,}")


def check_channels(name: str, channels: Any) -> None:
    """Raises ModelError unless a layer has from 1 to ``MAX_CHANNELS`` channels."""
    if check_count(name, channels, 1) > MAX_CHANNELS:
        raise ModelError(f"{name} of {channels:,} channels is more than the cap of {MAX_CHANNELS:,}")


def check_stages(stage_sizes: Any, widths: Any, *, layers_per_unit: int = 2) -> None:
    """Checks the stages of a network.

    Args:
        stage_sizes: Blocks, or convolutions, in each stage.
        widths: Channels of each stage; more than there are stages are allowed.
        layers_per_unit: Layers in one of ``stage_sizes``' units.

    Raises:
        ModelError: They are not sequences of positive integers, a stage has no width, or a number is above
            its cap.
    """
    _check_sequence("stage_sizes", stage_sizes)
    check_widths(widths)
    if len(stage_sizes) > len(widths):
        raise ModelError(f"{len(stage_sizes)} stages need as many widths, not {len(widths)}")
    check_layers(layers_per_unit * sum(check_count("a stage size", size, 1) for size in stage_sizes))


def check_widths(widths: Any) -> None:
    """Raises ModelError unless ``widths`` is a sequence of channels, one per stage."""
    _check_sequence("widths", widths)
    for width in widths:
        check_channels("a width", width)


def _check_sequence(name: str, values: Any) -> None:
    if not isinstance(values, Sequence | np.ndarray) or isinstance(values, str) or not len(values):
        raise ModelError(f"{name} has one integer per stage, such as (2, 2, 2), not {values!r}")


def check_probability(name: str, value: Any) -> None:
    """Raises ModelError unless ``0 <= value < 1``."""
    if not _is_number(value) or not 0 <= float(value) < 1:
        raise ModelError(f"{name} is a probability of at least 0 and below 1, not {value!r}")


def check_norm_options(epsilon: Any, momentum: Any) -> None:
    """Raises ModelError unless ``norm_epsilon`` is at least 0, and ``norm_momentum`` from 0 to 1."""
    if not _is_number(epsilon) or not 0 <= float(epsilon) < math.inf:
        raise ModelError(f"norm_epsilon is a number from 0 on, not {epsilon!r}")
    if not _is_number(momentum) or not 0 <= float(momentum) <= 1:
        raise ModelError(f"norm_momentum is a number from 0 to 1, not {momentum!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def check_choice(name: str, value: Any, known: Iterable[str]) -> None:
    """Raises ModelError, with near misses, unless ``value`` is one of ``known``."""
    options = list(known)
    if not isinstance(value, str) or value not in options:
        same = [f"did you mean {option!r}?" for option in options if option.lower() == str(value).lower()]
        near = (
            same[0] if same else did_you_mean(repr(value), map(repr, options)) if len(str(value)) > 2 else ""
        )
        hint = f"; {near}" if near else ""
        raise ModelError(f"{name} is one of {', '.join(map(repr, options))}, not {value!r}{hint}")


def check_dtype(dtype: Any) -> None:
    """Raises ModelError unless ``dtype`` is a floating-point type."""
    try:
        floating = dtype is not None and jnp.issubdtype(jnp.dtype(dtype), jnp.floating)
    except TypeError:
        floating = False
    if not floating:
        raise ModelError(f"dtype is a floating-point type, such as 'float32' or 'bfloat16', not {dtype!r}")


def chosen_parts(field: str, value: bool | str | Collection[str], known: Collection[str]) -> frozenset[str]:
    """The parts of a network that an option names.

    Args:
        field: Name of the option, for messages.
        value: Names of parts, one name, ``"all"`` or True for every part, False for none.
        known: The names there are.

    Raises:
        ModelError: A name that is not known.
    """
    if isinstance(value, bool) or value is None:
        return frozenset(known if value else ())
    if isinstance(value, str):
        value = known if value == "all" else (value,)
    if not isinstance(value, Collection) or not all(isinstance(part, str) for part in value):
        raise ModelError(f"{field} is 'all' or parts of {', '.join(sorted(known))}, not {value!r}")
    if unknown := set(value) - set(known):
        raise ModelError(f"{field} has no part {sorted(unknown)}; there are {sorted(known)}, or 'all'")
    return frozenset(value)
