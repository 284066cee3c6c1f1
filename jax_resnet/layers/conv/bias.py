"""A convolution and what follows it in a network for inference: bias, residual and ReLU in one pass.

The primitive means plain JAX, and becomes that wherever the extension is not used. Its derivative and its
``vmap`` are those of what it means.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax

from jax_resnet.errors import ModelError
from jax_resnet.layers.conv.api import as_spec, conv_general_dilated
from jax_resnet.layers.conv.native import can_use, native_conv_bias
from jax_resnet.layers.conv.plain import plain_conv
from jax_resnet.layers.conv.primitive import bind_conv
from jax_resnet.layers.conv.spec import ConvSpec
from jax_resnet.layers.dtypes import wide_dtype
from jax_resnet.layers.interpreters import define_primitive, mlir
from jax_resnet.layers.onednn.problem import BIAS, RELU, RESIDUAL
from jax_resnet.layers.selection import Implementation, requested_implementation
from jax_resnet.layers.sharding import is_explicitly_sharded, same_manual_axes

__all__ = ["conv_bias", "conv_bias_p"]

Padding = Sequence[tuple[int, int]]


def conv_bias(
    x: jax.Array,
    w: jax.Array,
    bias: jax.Array,
    residual: jax.Array | None = None,
    *,
    relu: bool = False,
    strides: Sequence[int] = (1, 1),
    padding: Padding = ((0, 0), (0, 0)),
    groups: int = 1,
) -> jax.Array:
    """``relu(x * w + bias + residual)``, each but the convolution and the bias optional; for inference.

    Args:
        x: Images, ``(n, height, width, groups * i)``.
        w: Weights, ``(kernel height, kernel width, i, o)``, of the same dtype.
        bias: ``(o,)``, of any floating dtype.
        residual: Images of the result's shape and dtype.
        relu: Whether a ReLU follows.
        strides: Strides of the two spatial axes.
        padding: Pairs (before, after) of zeros for both spatial axes.
        groups: Number of groups.

    Returns:
        Images, ``(n, new height, new width, o)``, of the dtype of ``x``.

    Raises:
        ModelError: The bias has another shape.
    """
    if bias.shape != w.shape[-1:]:
        raise ModelError(f"bias has one number for each of {w.shape[-1]} channels, not shape {bias.shape}")
    requested, _ = requested_implementation()
    added = [] if residual is None else [residual]
    bias = bias.astype(wide_dtype(x.dtype))
    spec = as_spec(x, w, strides, padding, feature_group_count=groups, requested=requested)
    if spec is None or is_explicitly_sharded(bias, *added) or any(r.dtype != x.dtype for r in added):
        numbers = ("NHWC", "HWIO", "NHWC")
        y = conv_general_dilated(
            x, w, strides, padding, dimension_numbers=numbers, feature_group_count=groups
        )
        return _add(y, bias, *added, relu=relu)
    arguments = same_manual_axes(x, w, bias, *added)
    return conv_bias_p.bind(*arguments, spec=spec, relu=relu, implementation=requested)


def _add(y: jax.Array, bias: jax.Array, *residual: jax.Array, relu: bool) -> jax.Array:
    wide = y.astype(bias.dtype) + bias.reshape(1, 1, 1, -1)
    for added in residual:
        wide = wide + added.astype(wide.dtype)
    return (jax.nn.relu(wide) if relu else wide).astype(y.dtype)


def _meaning(
    x: jax.Array,
    w: jax.Array,
    bias: jax.Array,
    *residual: jax.Array,
    spec: ConvSpec,
    relu: bool,
    implementation: Implementation,
) -> jax.Array:
    """What the primitive means, in terms of the convolution's own."""
    return _add(bind_conv(x, w, "forward", spec, implementation), bias, *residual, relu=relu)


def _plain(*args: Any, spec: ConvSpec, relu: bool, implementation: Implementation) -> jax.Array:
    x, w, *added = args
    return _add(plain_conv(x, w, kind="forward", spec=spec, for_cpu=False), *added, relu=relu)


def _abstract(x: Any, w: Any, *_: Any, spec: ConvSpec, relu: bool, implementation: Implementation) -> Any:
    return x.update(shape=(x.shape[0], *spec.output_size, w.shape[3]), weak_type=False)


def _lower_cpu(ctx: Any, *args: Any, spec: ConvSpec, relu: bool, implementation: Implementation) -> Any:
    epilogue = BIAS + (RESIDUAL if len(args) == 4 else 0) + (RELU if relu else 0)
    warn = implementation == "onednn"
    if implementation != "jax" and can_use(ctx, "forward", spec, warn, epilogue):
        conv: Callable[..., Any] = functools.partial(native_conv_bias, spec=spec, epilogue=epilogue)
    else:
        conv = functools.partial(_meaning, spec=spec, relu=relu, implementation=implementation)
    return mlir.lower_fun(conv, multiple_results=False)(ctx, *args)


conv_bias_p = define_primitive(
    "jax_resnet_conv_bias",
    multiple_results=False,
    abstract=_abstract,
    plain=_plain,
    meaning=_meaning,
    lower_cpu=_lower_cpu,
)
