"""Convolutions that the extension computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_resnet import layers
from jax_resnet.layers.conv.native import problem_of
from jax_resnet.layers.conv.spec import ConvSpec
from jax_resnet.layers.onednn import library
from jax_resnet.layers.onednn.problem import convolve

pytestmark = pytest.mark.skipif(library.load().library is None, reason=library.load().reason)


def conv(x, w, **options):
    return layers.conv_general_dilated(
        x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), **options
    )


def test_it_computes_more_shapes_than_its_cache_holds():
    # A program with 300 image sizes evicts the first one; calling that again prepares it anew.
    w = jnp.ones((1, 1, 2, 2))
    with layers.conv_implementation("onednn"):
        first = jax.jit(conv)
        assert first(jnp.ones((1, 1, 3, 2)), w).sum() == 12
        for height in range(2, 302):
            spec = ConvSpec((1, 1), ((0, 0), (0, 0)), (1, 1), 1, (height, 3), (1, 1))
            image = jax.ShapeDtypeStruct((1, height, 3, 2), jnp.float32)
            assert library.load().is_supported(problem_of(image, w, "forward", spec))
        assert first(jnp.ones((1, 1, 3, 2)), w).sum() == 12


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("inputs", "outputs", "taps", "strides"),
    [(3, 16, 3, 1), (64, 64, 3, 1), (48, 80, 3, 2), (512, 2048, 1, 1), (2048, 512, 1, 2), (34, 48, 5, 1)],
)
def test_weights_reach_the_kernels_in_their_layouts(inputs, outputs, taps, strides, dtype):
    random = np.random.default_rng(0)
    x = jnp.asarray(random.standard_normal((2, 8, 8, inputs), np.float32), dtype)
    w = jnp.asarray(random.standard_normal((taps, taps, inputs, outputs), np.float32), dtype)
    padding = ((taps // 2, taps // 2),) * 2
    result = layers.conv_general_dilated(
        x,
        w,
        (strides, strides),
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        implementation="onednn",
    )
    wide = [np.asarray(v, np.float32) for v in (x, w, result)]
    expected = convolve("forward", *wide, 1, (strides, strides), (1, 1), padding)
    limit = {"float32": 1e-5, "bfloat16": 1e-2}[dtype] * np.abs(expected).max()
    np.testing.assert_allclose(wide[2], expected, rtol=0, atol=limit)


def test_a_wrong_call_is_an_error_of_jax_not_a_crash():
    call = jax.ffi.ffi_call(library.CONV, jax.ShapeDtypeStruct((2,), jnp.float32))
    for problem in (np.zeros(3, np.int64), np.ones(25, np.int64)):
        with pytest.raises(jax.errors.JaxRuntimeError, match="convolution"):
            call(jnp.ones(2), jnp.ones(2), problem=problem).block_until_ready()


def test_it_is_in_the_program_where_it_is_requested_or_the_default():
    x, w = jnp.ones((1, 4, 4, 2)), jnp.ones((1, 1, 2, 2))
    for how, there in {"onednn": True, "auto": True, "jax": False, "xla": False}.items():
        text = jax.jit(lambda x, w, how=how: conv(x, w, implementation=how)).lower(x, w).as_text()
        assert (library.CONV in text) == there
    half = jax.jit(lambda x, w: conv(x, w, implementation="onednn")).lower(
        x.astype(jnp.float16), w.astype(jnp.float16)
    )
    assert library.CONV not in half.as_text()
