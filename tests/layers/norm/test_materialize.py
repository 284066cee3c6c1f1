"""An array that is written to memory once: the same numbers, and no chain of residuals computed again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_resnet.layers.norm.materialize import materialize
from jax_resnet.layers.norm.normalize import normalize

ODD = [0.0, -0.0, 1.0, -2.5, np.inf, -np.inf, np.nan, 2.0**15, -(2.0**15)]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("decides", [1.0, -1.0, np.nan])
def test_it_is_the_same_bits_whichever_branch_is_taken(dtype, decides):
    limits = jnp.finfo(dtype)
    y = jnp.asarray([*ODD, limits.max, limits.min, limits.tiny, -limits.tiny], dtype)
    result = jax.jit(materialize)(y, jnp.full((3,), decides))
    np.testing.assert_array_equal(np.asarray(result).view(np.uint8), np.asarray(y).view(np.uint8))


def test_it_maps_over_axes():
    y, like = jnp.arange(12.0).reshape(3, 4), jnp.array([[1.0], [-1.0], [0.0]])
    np.testing.assert_array_equal(jax.vmap(materialize)(y, like), y)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="what XLA repeats on CPU")
def test_work_grows_with_the_length_of_a_chain_not_its_square():
    def loss(x, scales, kernels):
        for scale, kernel in zip(scales, kernels, strict=True):
            y = jax.lax.conv_general_dilated(
                x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            x = normalize(y, scale, scale, x, 1e-5, True)[0]
        return x.sum()

    def operations(length):
        arrays = (jnp.ones((16, 16, 16, 16)), [jnp.ones(16)] * length, [jnp.ones((3, 3, 16, 16))] * length)
        compiled = jax.jit(jax.grad(loss, argnums=(1, 2))).lower(*arrays).compile()
        return compiled.cost_analysis()["flops"]

    few, more, many = map(operations, (4, 8, 12))
    assert many - more == pytest.approx(more - few, rel=0.01)
