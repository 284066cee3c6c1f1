"""3x3 convolutions by Winograd's algorithm: what the extension does with them where they have many tiles."""

import dataclasses
import hashlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jax_resnet import layers
from jax_resnet.layers.onednn import build, library
from jax_resnet.layers.onednn.problem import KINDS, convolve
from tests.layers.onednn.programs import run_python

pytestmark = pytest.mark.skipif(library.load().library is None, reason=library.load().reason)


@dataclasses.dataclass(frozen=True)
class Convolution:
    """A 3x3 convolution of stride 1; ``padding`` is that before both axes and that after both."""

    images: int
    size: tuple[int, int]
    inputs: int
    features: int
    padding: tuple[int, int] = (1, 1)

    @property
    def window(self):
        return ((1, 1), (1, 1), (self.padding, self.padding))

    def arrays(self):
        random = np.random.default_rng(0)
        after = tuple(size + sum(self.padding) - 2 for size in self.size)
        shapes = (
            (self.images, *self.size, self.inputs),
            (3, 3, self.inputs, self.features),
            (self.images, *after, self.features),
        )
        return [random.standard_normal(shape, np.float32) for shape in shapes]

    def compute(self, kind, precision=None):
        """By this library: the result, or the gradient for the input or the weights."""
        x, w, dy = self.arrays()

        def conv(x, w):
            return layers.conv_general_dilated(
                x,
                w,
                (1, 1),
                self.window[2],
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
                precision=precision,
                implementation="onednn",
            )

        if kind == "forward":
            return np.asarray(jax.jit(conv)(x, w))
        pull = jax.jit(lambda x, w, dy: jax.vjp(conv, x, w)[1](dy))(x, w, dy)
        return np.asarray(pull[kind == "weight_gradient"])

    def error(self, kind, precision=None):
        """Largest error, in multiples of the result's root mean square."""
        expected = convolve(kind, *(v.astype(np.float64) for v in self.arrays()), 1, *self.window)
        return np.abs(self.compute(kind, precision) - expected).max() / np.sqrt(np.square(expected).mean())


MANY_TILES = Convolution(16, (16, 16), 32, 64)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "case",
    [
        MANY_TILES,
        Convolution(40, (7, 9), 32, 32, (0, 0)),
        Convolution(40, (9, 7), 48, 80, (2, 0)),
        Convolution(200, (1, 3), 64, 32),
        Convolution(3, (33, 17), 64, 112, (0, 3)),
        Convolution(2, (64, 64), 32, 48),
    ],
    ids=str,
)
def test_it_equals_the_convolution_in_double_precision(case, kind):
    assert case.error(kind) < 2e-5


@given(
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    channels=st.tuples(st.integers(2, 6), st.integers(2, 6)),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    kind=st.sampled_from(KINDS),
)
@settings(max_examples=30, deadline=None)
def test_any_shape_equals_the_convolution_in_double_precision(size, channels, padding, kind):
    if min(size) + sum(padding) < 3:
        padding = (1, 1)
    case = Convolution(80, size, 16 * channels[0], 16 * channels[1], padding)
    assert case.error(kind) < 2e-5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", ["highest", "float32", jax.lax.Precision.HIGHEST])
def test_the_highest_precision_is_a_sum_of_products(kind, precision):
    direct = MANY_TILES.compute(kind, precision)
    assert not np.array_equal(direct, MANY_TILES.compute(kind))
    with jax.default_matmul_precision("highest"):
        assert np.array_equal(direct, MANY_TILES.compute(kind))
    assert MANY_TILES.error(kind, precision) < 2e-5


@pytest.mark.parametrize(
    "case",
    # Vectors hold 16 numbers with AVX-512, 8 without: 36 channels fill neither.
    [Convolution(2, (4, 4), 32, 32), Convolution(16, (16, 16), 16, 64), Convolution(16, (16, 16), 36, 64)],
    ids=["few tiles", "few channels", "channels that fill no vector"],
)
def test_what_does_not_suit_it_is_direct(case):
    assert np.array_equal(case.compute("forward"), case.compute("forward", "highest"))


def test_the_same_bits_on_one_thread_and_on_two():
    program = """
        from tests.layers.onednn.test_winograd import KINDS, MANY_TILES, digest
        print([digest(MANY_TILES.compute(kind)) for kind in KINDS])
    """
    one, two = (run_python(program, OMP_NUM_THREADS=threads) for threads in "12")
    assert one.returncode == two.returncode == 0, one.stderr + two.stderr
    assert one.stdout == two.stdout


def digest(array):
    return hashlib.sha256(array.tobytes()).hexdigest()


def test_bias_residual_and_relu_follow_it():
    x, w, residual = MANY_TILES.arrays()
    bias = np.random.default_rng(1).standard_normal(MANY_TILES.features, np.float32)

    def fused(x, w, bias, residual):
        return layers.conv_bias(x, w, bias, residual, relu=True, padding=MANY_TILES.window[2])

    expected = np.maximum(convolve("forward", x, w, residual, 1, *MANY_TILES.window) + bias + residual, 0)
    with layers.conv_implementation("onednn"):
        np.testing.assert_allclose(jax.jit(fused)(x, w, bias, residual), expected, rtol=1e-4, atol=1e-4)


def test_what_is_not_finite_stays_in_its_tile():
    x, w, _ = MANY_TILES.arrays()
    x[3, 5, 5, 7] = np.nan
    result = np.asarray(
        layers.conv_general_dilated(
            jnp.asarray(x),
            jnp.asarray(w),
            (1, 1),
            MANY_TILES.window[2],
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            implementation="onednn",
        )
    )
    spoiled = np.argwhere(np.isnan(result).any(-1))
    assert (spoiled[:, 0] == 3).all()
    assert np.isnan(result[3, 4:7, 4:7]).all()  # as of any convolution
    assert spoiled[:, 1:].min() >= 4
    assert spoiled[:, 1:].max() <= 7


@pytest.mark.slow
@pytest.mark.parametrize("flags", [("-mno-avx512f",), ("-mno-avx",)], ids=["AVX2", "SSE"])
def test_it_is_right_on_narrower_vectors(flags, tmp_path):
    # What processors without AVX-512 would run. The self-test compares it with NumPy.
    recipe = build.Recipe()
    compiled = recipe._replace(flags=(*recipe.flags, *flags))
    target = Path(tmp_path) / "extension.so"
    onednn = build.find_onednn()
    build.compile_extension(compiled, build.find_compiler(), onednn, target)
    build.check_extension(onednn, target)
