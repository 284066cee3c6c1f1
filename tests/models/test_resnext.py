"""The three equivalent forms of a ResNeXt block (Xie et al. 2017, figure 3), with the same weights."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jax_resnet.layers import BatchNorm
from jax_resnet.models import BottleneckBlock
from tests.helpers.quick import jit

CARDINALITY, WIDTH, FILTERS = 3, 2, 16  # groups, channels of a group: with 64 filters it would be 3 x 8d


def conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def normalize(x: jax.Array, params: Any) -> jax.Array:
    mean, var = x.mean((0, 1, 2), keepdims=True), x.var((0, 1, 2), keepdims=True)
    scale, bias = (params[name].reshape(1, 1, 1, -1) for name in ("scale", "bias"))
    return (x - mean) / jnp.sqrt(var + 1e-5) * scale + bias


def of_group(params: Any, i: int) -> Any:
    """The channels of group ``i`` of each layer before the last."""
    part = np.s_[..., i * WIDTH : (i + 1) * WIDTH]
    return {
        "conv1": params["conv1"]["kernel"][part],
        "norm1": {name: value[part] for name, value in params["norm1"].items()},
        "conv2": params["conv2"]["kernel"][part],
        "norm2": {name: value[part] for name, value in params["norm2"].items()},
        "conv3": params["conv3"]["kernel"][:, :, i * WIDTH : (i + 1) * WIDTH],
    }


def transformed(x: jax.Array, group: Any) -> jax.Array:
    y = nn.relu(normalize(conv(x, group["conv1"]), group["norm1"]))
    return nn.relu(normalize(conv(y, group["conv2"]), group["norm2"]))


def split_transform_merge(x: jax.Array, params: Any) -> jax.Array:
    """Figure 3a: branches of three convolutions, added."""
    groups = [of_group(params, i) for i in range(CARDINALITY)]
    merged = sum(conv(transformed(x, group), group["conv3"]) for group in groups)
    return nn.relu(x + normalize(merged, params["norm3"]))


def concatenation(x: jax.Array, params: Any) -> jax.Array:
    """Figure 3b: branches of two convolutions, concatenated, and one convolution after."""
    branches = [transformed(x, of_group(params, i)) for i in range(CARDINALITY)]
    merged = conv(jnp.concatenate(branches, -1), params["conv3"]["kernel"])
    return nn.relu(x + normalize(merged, params["norm3"]))


def with_gradients(form: Callable[..., jax.Array]) -> Callable[..., Any]:
    """The output, and what a loss with the gradient cos(output) passes back."""

    def run(x: jax.Array, params: Any) -> Any:
        out, pullback = jax.vjp(form, x, params)
        return out, pullback(jnp.cos(out))

    return run


@pytest.mark.parametrize("form", [split_transform_merge, concatenation])
def test_grouped_convolution_is_the_same(form: Callable[[jax.Array, Any], jax.Array]) -> None:
    # Figure 3c is what the library has.
    block = BottleneckBlock(
        FILTERS,
        strides=1,
        conv=partial(nn.Conv, use_bias=False),
        norm=BatchNorm,
        cardinality=CARDINALITY,
        base_width=WIDTH * 64 // FILTERS,
    )
    x = jax.random.normal(jax.random.key(0), (4, 6, 6, block.features))
    variables = block.init(jax.random.key(1), x, train=False)
    params = jax.tree.map(
        lambda p: p + 0.1 * jnp.sin(jnp.arange(p.size)).reshape(p.shape), variables["params"]
    )

    def ours(x: jax.Array, params: Any) -> jax.Array:
        return block.apply({**variables, "params": params}, x, train=True)

    assert params["conv2"]["kernel"].shape == (3, 3, WIDTH, CARDINALITY * WIDTH)
    out, grads = jit(with_gradients(ours))(x, params)
    expected, expected_grads = jit(with_gradients(form))(x, params)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), grads, expected_grads)
