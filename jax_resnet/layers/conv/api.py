"""The convolution that every network calls."""

import functools
import logging
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jax_resnet.layers import interpreters
from jax_resnet.layers.conv.primitive import bind_conv
from jax_resnet.layers.conv.spec import ConvSpec
from jax_resnet.layers.selection import Implementation, requested_implementation
from jax_resnet.layers.sharding import is_explicitly_sharded, same_manual_axes

__all__ = ["as_spec", "conv_general_dilated"]

# Only some versions of jax declare its attributes to type checkers.
_config: Any = jax.config

_IMAGES = ("NHWC", "HWIO", "NHWC")


def conv_general_dilated(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: lax.PrecisionLike = None,
    preferred_element_type: Any = None,
    *,
    implementation: Implementation | None = None,
) -> jax.Array:
    """Convolves like ``jax.lax.conv_general_dilated``, faster on CPU.

    Pass it to Flax as ``flax.linen.Conv(conv_general_dilated=...)``.

    Two-dimensional convolutions of channels-last images (``NHWC``, ``HWIO``, ``NHWC``) with floating-point
    numbers, without ``lhs_dilation`` and without negative padding, become a primitive of this library. The
    platform that a program is compiled for decides what runs: on GPU and TPU XLA's own operation, on CPU
    what ``conv_implementation`` describes. All other convolutions go to ``jax.lax.conv_general_dilated``
    unchanged. Derivatives of any order, ``vmap``, ``jit``, remat and ``jax.export`` work as with ``lax``;
    an exported program contains XLA's operations only. Where ``jit`` spreads a convolution over devices, it
    is plain JAX; inside ``shard_map`` and ``pmap`` each device runs its own. Under ``vmap`` over weights
    several members may share one convolution on CPU: NaN or infinity in one can then reach the others.

    Args:
        lhs: Images, ``(n, height, width, groups * i)``.
        rhs: Weights, ``(kernel height, kernel width, i, o)``, of the same dtype.
        window_strides: Strides of the two spatial axes.
        padding: ``"SAME"``, ``"VALID"``, ``"SAME_LOWER"`` or pairs (before, after) for both spatial axes.
        lhs_dilation: As in lax.
        rhs_dilation: Dilation of the two spatial axes of the kernel.
        dimension_numbers: As in lax.
        feature_group_count: Number of groups.
        batch_group_count: As in lax.
        precision: As in lax.
        preferred_element_type: As in lax.
        implementation: Overrides ``conv_implementation`` and ``JAX_RESNET_CONV``.

    Returns:
        Images, ``(n, new height, new width, o)``, of the dtype of ``lhs``.

    Raises:
        ModelError: The implementation does not exist.
        ValueError: The errors of ``jax.lax.conv_general_dilated``.
    """
    requested, _ = requested_implementation(implementation)
    spec = None
    if batch_group_count == 1 and preferred_element_type is None and all(s == 1 for s in lhs_dilation or ()):
        spec = as_spec(
            lhs,
            rhs,
            window_strides,
            padding,
            rhs_dilation=rhs_dilation,
            dimension_numbers=dimension_numbers,
            feature_group_count=feature_group_count,
            precision=precision,
            requested=requested,
        )
    if spec is None:
        return lax.conv_general_dilated(
            lhs,
            rhs,
            window_strides,
            padding,
            lhs_dilation=lhs_dilation,
            rhs_dilation=rhs_dilation,
            dimension_numbers=dimension_numbers,
            feature_group_count=feature_group_count,
            batch_group_count=batch_group_count,
            precision=precision,
            preferred_element_type=preferred_element_type,
        )
    lhs, rhs = same_manual_axes(lhs, rhs)
    return bind_conv(lhs, rhs, "forward", spec, requested)


def as_spec(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    *,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = _IMAGES,
    feature_group_count: int = 1,
    precision: lax.PrecisionLike = None,
    requested: Implementation,
) -> ConvSpec | None:
    """The convolution as the primitive knows it; None for one that it does not take."""
    ours = (
        requested != "xla"
        and _primitives_work()
        and _are_images(lhs, rhs, dimension_numbers, feature_group_count)
        and not is_explicitly_sharded(lhs, rhs)
        and (isinstance(padding, str) or (len(padding) == 2 and all(min(pair) >= 0 for pair in padding)))
        and all(len(steps) == 2 and min(steps) > 0 for steps in (window_strides, rhs_dilation or (1, 1)))
    )
    if not ours:
        return None
    if precision is None:
        # The primitive is lowered later, perhaps outside of the context that sets the default.
        precision = _config.jax_default_matmul_precision
    strides = _pair(window_strides)
    dilation = _pair(rhs_dilation or (1, 1))
    if isinstance(padding, str):
        window = [(taps - 1) * step + 1 for taps, step in zip(rhs.shape[:2], dilation, strict=True)]
        padding = lax.padtype_to_pads(lhs.shape[1:3], window, strides, padding)
    (top, bottom), (left, right) = padding
    return ConvSpec(
        strides=strides,
        padding=((int(top), int(bottom)), (int(left), int(right))),
        dilation=dilation,
        groups=feature_group_count,
        input_size=_pair(lhs.shape[1:3]),
        kernel_size=_pair(rhs.shape[:2]),
        precision=precision,
    )


@functools.cache
def _primitives_work() -> bool:
    """Returns whether this version of JAX has what the primitive takes; logs once if not."""
    if interpreters.PROBLEM is not None:
        logging.getLogger("jax_resnet").warning("%s; XLA's own convolution is used", interpreters.PROBLEM)
    return interpreters.PROBLEM is None


def _pair(values: Sequence[int]) -> tuple[int, int]:
    first, second = values
    return int(first), int(second)


def _are_images(lhs: jax.Array, rhs: jax.Array, dimension_numbers: Any, groups: int) -> bool:
    """Returns whether the primitive takes these arrays; for impossible ones lax raises the error."""
    if jnp.ndim(lhs) != 4 or jnp.ndim(rhs) != 4 or dimension_numbers is None:
        return False
    sizes = (*lhs.shape[1:], *rhs.shape)
    return (
        lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
        == lax.conv_dimension_numbers(lhs.shape, rhs.shape, _IMAGES)
        and lhs.dtype == rhs.dtype
        and jnp.issubdtype(lhs.dtype, jnp.floating)
        # Under jax.export sizes can be symbols; here only the batch size may be one.
        and all(isinstance(size, int) and size > 0 for size in sizes)
        and groups > 0
        and rhs.shape[2] * groups == lhs.shape[3]
        and rhs.shape[3] % groups == 0
    )
