"""The one convolution every network calls."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jax_resnet.layers.conv.primitive import bind_conv
from jax_resnet.layers.conv.spec import ConvSpec
from jax_resnet.layers.selection import Implementation, requested_implementation
from jax_resnet.layers.types import is_explicitly_sharded, same_manual_axes

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

    Made to be handed to ``flax.linen.Conv(conv_general_dilated=...)``. Two-dimensional convolutions
    of channels-last images (``NHWC``, ``HWIO``, ``NHWC``) of floating-point numbers, without
    ``lhs_dilation`` and with padding that is not negative, become a primitive of our own whose
    implementation is chosen for the platform that it is compiled for: on GPU and TPU the operation of
    XLA, on CPU what ``conv_implementation`` describes. Everything else goes to
    ``jax.lax.conv_general_dilated`` as it is. Derivatives of any order, ``vmap``, ``jit``, remat and
    ``jax.export`` work alike; an exported program holds the operations of XLA alone. Spread over
    devices by ``jit`` a convolution is plain JAX; inside ``shard_map`` and ``pmap`` each device has its
    own.

    Args:
        lhs: Images, ``(n, height, width, groups * i)``.
        rhs: Weights, ``(kernel height, kernel width, i, o)``, of the same dtype.
        window_strides: Of the two spatial axes.
        padding: ``"SAME"``, ``"VALID"``, ``"SAME_LOWER"`` or pairs (before, after) for both spatial axes.
        lhs_dilation: As in lax.
        rhs_dilation: Of the two spatial axes of the kernel.
        dimension_numbers: As in lax.
        feature_group_count: Number of groups.
        batch_group_count: As in lax.
        precision: As in lax.
        preferred_element_type: As in lax.
        implementation: Overrides ``conv_implementation`` and ``JAX_RESNET_CONV``.

    Returns:
        Images, ``(n, new height, new width, o)``.

    Raises:
        ValueError: The implementation does not exist, or what lax raises.
    """
    requested, _ = requested_implementation(implementation)
    ours = (
        requested != "xla"
        and batch_group_count == 1
        and preferred_element_type is None
        and all(step == 1 for step in lhs_dilation or ())
        and _are_images(lhs, rhs, dimension_numbers, feature_group_count)
        and not is_explicitly_sharded(lhs, rhs)
        and (isinstance(padding, str) or all(min(pair) >= 0 for pair in padding))
    )
    if not ours:
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
    if precision is None:
        # Lowering happens later, perhaps outside of the context that sets the default.
        precision = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    strides = _pair(window_strides)
    dilation = _pair(rhs_dilation or (1, 1))
    if isinstance(padding, str):
        window = [(taps - 1) * step + 1 for taps, step in zip(rhs.shape[:2], dilation, strict=True)]
        padding = lax.padtype_to_pads(lhs.shape[1:3], window, strides, padding)
    (top, bottom), (left, right) = padding
    spec = ConvSpec(
        strides=strides,
        padding=((int(top), int(bottom)), (int(left), int(right))),
        dilation=dilation,
        groups=feature_group_count,
        input_size=_pair(lhs.shape[1:3]),
        kernel_size=_pair(rhs.shape[:2]),
        precision=precision,
    )
    lhs, rhs = same_manual_axes(lhs, rhs)
    return bind_conv(lhs, rhs, "forward", spec, requested)


def _pair(values: Sequence[int]) -> tuple[int, int]:
    first, second = values
    return int(first), int(second)


def _are_images(lhs: jax.Array, rhs: jax.Array, dimension_numbers: Any, groups: int) -> bool:
    """Whether these are arrays that the primitive takes; lax words the errors for those that nobody takes."""
    if jnp.ndim(lhs) != 4 or jnp.ndim(rhs) != 4 or dimension_numbers is None:
        return False
    sizes = (*lhs.shape[1:], *rhs.shape)
    return (
        lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
        == lax.conv_dimension_numbers(lhs.shape, rhs.shape, _IMAGES)
        and lhs.dtype == rhs.dtype
        and jnp.issubdtype(lhs.dtype, jnp.floating)
        # Sizes can be symbols under jax.export; only that of the batch may be one here.
        and all(isinstance(size, int) and size > 0 for size in sizes)
        and groups > 0
        and rhs.shape[2] * groups == lhs.shape[3]
        and rhs.shape[3] % groups == 0
    )
