"""The convolution against NumPy and lax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from jax_resnet import layers
from jax_resnet.layers.onednn.library import load
from jax_resnet.layers.onednn.problem import KINDS, convolve

DIMENSIONS = ("NHWC", "HWIO", "NHWC")
TOLERANCE = {"float32": 1e-5, "bfloat16": 1e-2, "float16": 5e-3}


@pytest.fixture(params=["jax", "onednn"], scope="module")
def implementation(request):
    if request.param == "onednn" and load().library is None:
        pytest.skip(load().reason)
    return request.param


@st.composite
def convolutions(draw):
    groups = draw(st.sampled_from([1, 1, 2, 3, 5, 8]))
    inputs, outputs = (groups * draw(st.integers(1, 9)) for _ in range(2))
    kernel = tuple(draw(st.integers(1, 4)) for _ in range(2))
    dilation = tuple(draw(st.integers(1, 2)) for _ in range(2))
    smallest = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    size = tuple(draw(st.integers(s, s + 6)) for s in smallest)
    low_high = st.tuples(st.integers(0, 3), st.integers(0, 3))
    padding = draw(st.one_of(st.sampled_from(["SAME", "VALID"]), st.tuples(low_high, low_high)))
    strides = tuple(draw(st.integers(1, 3)) for _ in range(2))
    x, w = (draw(st.integers(1, 3)), *size, inputs), (*kernel, inputs // groups, outputs)
    options = {
        "window_strides": strides,
        "padding": padding,
        "rhs_dilation": dilation,
        "feature_group_count": groups,
    }
    return x, w, options, draw(st.integers(0, 2**31))


def all_three(conv, x, w, options, cotangent=None):
    """The result and both gradients."""
    y, pull = jax.vjp(lambda x, w: conv(x, w, dimension_numbers=DIMENSIONS, **options), x, w)
    return (y, *pull(jnp.ones_like(y) if cotangent is None else cotangent))


def assert_right(case, dtype, implementation):
    """Compares with NumPy in float64: where padding is negative, lax on CPU has errors of its own."""
    x_shape, w_shape, options, seed = case
    random = np.random.default_rng(seed)
    x, w = (jnp.asarray(random.standard_normal(shape), dtype) for shape in (x_shape, w_shape))
    y = jax.eval_shape(
        lambda x, w: lax.conv_general_dilated(x, w, dimension_numbers=DIMENSIONS, **options), x, w
    )
    ct = jnp.asarray(random.standard_normal(y.shape), dtype)
    with layers.conv_implementation(implementation):
        actual = jax.jit(lambda *a: all_three(layers.conv_general_dilated, *a[:2], options, a[2]))(x, w, ct)
    strides, dilation = options["window_strides"], options.get("rhs_dilation", (1, 1))
    padding = options["padding"]
    if isinstance(padding, str):
        window = [(k - 1) * d + 1 for k, d in zip(w_shape[:2], dilation, strict=True)]
        padding = lax.padtype_to_pads(x_shape[1:3], window, strides, padding)
    arrays = [np.asarray(v, np.float64) for v in (x, w, ct)]
    for kind, ours in zip(KINDS, actual, strict=True):
        reference = convolve(kind, *arrays, options["feature_group_count"], strides, dilation, padding)
        assert ours.dtype == dtype
        assert ours.shape == reference.shape
        scale = max(np.abs(reference).max(), 1e-3)
        np.testing.assert_allclose(
            np.asarray(ours, np.float64) / scale, reference / scale, atol=TOLERANCE[dtype]
        )


@settings(max_examples=6, deadline=None, derandomize=True)
@given(case=convolutions(), dtype=st.sampled_from(["float32", "bfloat16"]))
def test_random_convolutions_are_right(implementation, case, dtype):
    assert_right(case, dtype, implementation)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(case=convolutions(), dtype=st.sampled_from(["float32", "bfloat16", "float16"]))
def test_many_random_convolutions_are_right(implementation, case, dtype):
    assert_right(case, dtype, implementation)


@pytest.mark.parametrize(
    ("size", "channels", "outputs", "kernel", "stride", "groups"),
    [
        (32, 3, 16, 3, 1, 1),
        (16, 16, 32, 3, 2, 1),
        (16, 64, 128, 1, 2, 1),
        (8, 128, 128, 3, 1, 32),
        (33, 3, 8, 7, 2, 1),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_layers_of_resnets_are_right(implementation, size, channels, outputs, kernel, stride, groups, dtype):
    pad = (kernel // 2, kernel // 2)
    options = {"window_strides": (stride, stride), "padding": (pad, pad), "feature_group_count": groups}
    shapes = (2, size, size, channels), (kernel, kernel, channels // groups, outputs)
    assert_right((*shapes, options, 0), dtype, implementation)


def test_float64_stays_float64(implementation):
    with jax.enable_x64(True), layers.conv_implementation(implementation):
        random = np.random.default_rng(0)
        x, w = random.standard_normal((2, 6, 6, 12)), random.standard_normal((3, 3, 3, 8))
        options = {"window_strides": (1, 1), "padding": "SAME", "feature_group_count": 4}
        ours = all_three(layers.conv_general_dilated, x, w, options)
        reference = all_three(lax.conv_general_dilated, x, w, options)
    for a, b in zip(ours, reference, strict=True):
        assert a.dtype == jnp.float64
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "call",
    [
        lambda conv: conv(jnp.ones((1, 3, 8)), jnp.ones((2, 3, 2)), (1,), "SAME"),
        lambda conv: conv(jnp.ones((1, 3, 8, 8)), jnp.ones((2, 3, 3, 3)), (1, 1), "SAME"),
        lambda conv: conv(
            jnp.ones((1, 4, 4, 2)),
            jnp.ones((3, 3, 2, 2)),
            (1, 1),
            [(1, 1), (2, 2)],
            (1, 2),
            dimension_numbers=DIMENSIONS,
        ),
        lambda conv: conv(
            jnp.ones((2, 4, 4, 2)),
            jnp.ones((3, 3, 2, 2)),
            (1, 1),
            "SAME",
            dimension_numbers=DIMENSIONS,
            batch_group_count=2,
        ),
        lambda conv: conv(
            jnp.ones((1, 4, 4, 2), jnp.int8),
            jnp.ones((3, 3, 2, 2), jnp.int8),
            (1, 1),
            "SAME",
            dimension_numbers=DIMENSIONS,
            preferred_element_type=jnp.int32,
        ),
        lambda conv: conv(
            jnp.ones((0, 4, 4, 2)), jnp.ones((3, 3, 2, 2)), (1, 1), "SAME", dimension_numbers=DIMENSIONS
        ),
        lambda conv: conv(
            jnp.ones((0, 4, 4, 2)), jnp.ones((1, 1, 2, 2)), (2, 2), "VALID", dimension_numbers=DIMENSIONS
        ),
        lambda conv: conv(
            jnp.ones((1, 6, 6, 2)),
            jnp.ones((3, 3, 2, 2)),
            (1, 1),
            [(-1, 0), (2, -1)],
            dimension_numbers=DIMENSIONS,
        ),
        lambda conv: conv(
            jnp.ones((1, 2, 2, 2)), jnp.ones((3, 3, 2, 2)), (1, 1), "VALID", dimension_numbers=DIMENSIONS
        ),
    ],
    ids=[
        "1d",
        "nchw",
        "transposed",
        "batch groups",
        "integers",
        "no images",
        "no images, pointwise",
        "cropped",
        "no output",
    ],
)
def test_everything_else_is_as_in_lax(call):
    ours, reference = call(layers.conv_general_dilated), call(lax.conv_general_dilated)
    assert ours.dtype == reference.dtype
    np.testing.assert_array_equal(ours, reference)


def test_errors_are_those_of_lax():
    arguments = jnp.ones((1, 4, 4, 3)), jnp.ones((3, 3, 2, 4)), (1, 1), "SAME"
    with pytest.raises(ValueError, match="feature") as reference:
        lax.conv_general_dilated(*arguments, dimension_numbers=DIMENSIONS)
    with pytest.raises(ValueError, match="feature") as ours:
        layers.conv_general_dilated(*arguments, dimension_numbers=DIMENSIONS)
    assert str(ours.value) == str(reference.value)


@pytest.mark.parametrize(
    "options",
    [{"window_strides": (0, 0)}, {"rhs_dilation": (0, 1)}, {"padding": [(1, 1)]}, {"window_strides": (1,)}],
)
def test_what_lax_refuses_is_refused_in_its_words(options):
    given = {"window_strides": (1, 1), "padding": "SAME", "dimension_numbers": DIMENSIONS, **options}
    arguments = jnp.ones((1, 4, 4, 3)), jnp.ones((3, 3, 3, 4))
    errors = []
    for convolution in (lax.conv_general_dilated, layers.conv_general_dilated):
        with pytest.raises(Exception) as caught:  # noqa: PT011
            convolution(*arguments, **given)
        errors.append((type(caught.value), str(caught.value)))
    assert errors[0] == errors[1]


def test_flax_takes_it_as_its_convolution():
    x = jnp.ones((2, 8, 8, 6))
    options = {"features": 9, "kernel_size": (3, 3), "strides": (2, 2), "feature_group_count": 3}
    ours = nn.Conv(**options, conv_general_dilated=layers.conv_general_dilated)
    variables = ours.init(jax.random.key(0), x)
    np.testing.assert_allclose(
        ours.apply(variables, x), nn.Conv(**options).apply(variables, x), rtol=1e-5, atol=1e-5
    )
