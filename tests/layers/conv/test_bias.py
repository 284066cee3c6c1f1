"""A convolution with bias, residual and ReLU against the same written out."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_resnet import layers
from jax_resnet.layers.onednn import library

TOLERANCE = {"float32": 1e-5, "bfloat16": 2e-2, "float64": 1e-12}
# Inputs, outputs, kernel, strides, padding, groups.
CASES = [
    (3, 16, 3, 1, 1, 1),
    (16, 32, 3, 2, 1, 1),
    (16, 24, 1, 1, 0, 1),
    (3, 8, 7, 2, 3, 1),
    (16, 32, 3, 1, 1, 4),
    (32, 32, 3, 2, 1, 8),
]


def arrays(case, dtype, images=2, size=9):
    inputs, outputs, kernel, stride, padding, groups = case
    new = (size + 2 * padding - kernel) // stride + 1
    shapes = [(images, size, size, inputs), (kernel, kernel, inputs // groups, outputs), (outputs,)]
    shapes.append((images, new, new, outputs))
    keys = jax.random.split(jax.random.key(sum(case)), 4)
    x, w, bias, residual = (jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True))
    return x.astype(dtype), w.astype(dtype), bias, residual.astype(dtype)


def options(case):
    return {"strides": (case[3],) * 2, "padding": ((case[4],) * 2,) * 2, "groups": case[5]}


def written_out(x, w, bias, residual, case, relu):
    """In float32 at least, rounded once."""
    wide = jnp.promote_types(x.dtype, jnp.float32)
    window = {"window_strides": (case[3],) * 2, "padding": ((case[4],) * 2,) * 2}
    y = jax.lax.conv_general_dilated(
        x.astype(wide),
        w.astype(wide),
        **window,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=case[5],
    )
    y = y + bias + (0 if residual is None else residual.astype(wide))
    return (jnp.maximum(y, 0) if relu else y).astype(x.dtype)


def assert_close(found, expected):
    name = expected.dtype.name
    found, expected = (np.asarray(a, np.float64) for a in (found, expected))
    np.testing.assert_allclose(
        found / np.abs(expected).max(), expected / np.abs(expected).max(), atol=TOLERANCE[name]
    )


@pytest.mark.parametrize("how", ["xla", "jax", "auto"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_is_convolution_bias_residual_and_relu(case, dtype, how):
    x, w, bias, residual = arrays(case, dtype)
    for added, relu in itertools.product((None, residual), (False, True)):
        with layers.conv_implementation(how):
            y = jax.jit(lambda *a, r=relu: layers.conv_bias(*a, relu=r, **options(case)))(x, w, bias, added)
        assert y.dtype == x.dtype
        assert_close(y, written_out(x, w, bias, added, case, relu))


def test_the_residual_stays_as_it_was():
    x, w, bias, residual = arrays(CASES[1], "float32")
    before = np.asarray(residual)

    @jax.jit
    def both(x, w, bias, residual):
        return layers.conv_bias(x, w, bias, residual, relu=True, **options(CASES[1])), residual + 1

    _, after = both(x, w, bias, residual)
    np.testing.assert_array_equal(residual, before)
    np.testing.assert_array_equal(after, before + 1)


def test_derivatives_and_vmap_are_those_of_the_parts():
    case = CASES[1]
    x, w, bias, residual = arrays(case, "float32")

    def ours(*a):
        return jnp.sum(jnp.sin(layers.conv_bias(*a, relu=True, **options(case))))

    def parts(*a):
        return jnp.sum(jnp.sin(written_out(*a, case, True)))

    for a, b in zip(
        jax.grad(ours, (0, 1, 2, 3))(x, w, bias, residual),
        jax.grad(parts, (0, 1, 2, 3))(x, w, bias, residual),
        strict=True,
    ):
        assert_close(a, b)
    several = jnp.stack([w, -w])
    found = jax.vmap(lambda w: layers.conv_bias(x, w, bias, residual, relu=True, **options(case)))(several)
    assert_close(found[1], written_out(x, -w, bias, residual, case, True))


def test_float64_is_computed_in_float64():
    with jax.enable_x64(True):
        x, w, bias, residual = arrays(CASES[0], "float64")
        assert_close(
            layers.conv_bias(x, w, bias.astype("float64"), residual, relu=True, **options(CASES[0])),
            written_out(x, w, bias, residual, CASES[0], True),
        )


@pytest.mark.skipif(library.load().library is None, reason=library.load().reason)
def test_it_is_one_call_of_the_extension():
    with layers.conv_implementation("onednn"):
        lowered = jax.jit(lambda *a: layers.conv_bias(*a, relu=True, **options(CASES[0]))).lower
        text = lowered(*arrays(CASES[0], "float32")).as_text()
    assert text.count(library.CONV_BIAS) == 1
    assert "stablehlo.add" not in text
    assert "stablehlo.maximum" not in text


@pytest.mark.skipif(library.load().library is None, reason=library.load().reason)
def test_a_wrong_call_is_an_error_of_jax_not_a_crash():
    call = jax.ffi.ffi_call(library.CONV_BIAS, jax.ShapeDtypeStruct((2,), jnp.float32))
    for problem in (np.zeros(3, np.int64), np.ones(25, np.int64)):
        with pytest.raises(jax.errors.JaxRuntimeError, match="convolution"):
            call(jnp.ones(2), jnp.ones(2), jnp.ones(2), problem=problem).block_until_ready()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("implementation", ["auto", "xla"])
def test_nothing_is_promoted(implementation, dtype):
    x = jnp.ones((2, 4, 4, 16), dtype)
    arguments = (x, jnp.ones((3, 3, 16, 16), dtype), jnp.ones(16, dtype), x)

    def run():
        return layers.conv_bias(*arguments, relu=True, padding=((1, 1), (1, 1)))

    with layers.conv_implementation(implementation):
        expected = run()
        with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
            assert jnp.array_equal(run(), expected)
