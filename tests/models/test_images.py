"""Images that a network cannot take are refused when it is traced, in one line."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from jax_resnet.errors import ModelError
from jax_resnet.models import create_model

NAMES = ["resnet20", "preact_resnet18", "vgg11", "mnist_cnn", "mnist_preact_resnet"]


def trace(name: str, shape: tuple[int, ...], dtype: Any = jnp.float32) -> None:
    model = create_model(name)
    image = jax.ShapeDtypeStruct(shape, dtype)
    jax.eval_shape(lambda image: model.init(jax.random.key(0), image, train=False), image)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((32, 32, 3), jnp.float32, r"\(N, H, W, channels\), not of shape \(32, 32, 3\)"),
        ((1, 1, 32, 32, 3), jnp.float32, r"\(N, H, W, channels\), not of shape"),
        ((4, 3, 32, 32), jnp.float32, r"looks like channels first: .*transpose\(0, 2, 3, 1\)"),
        ((4, 1, 28, 28), jnp.float32, "looks like channels first"),
        ((4, 3, 224, 224), jnp.float32, "looks like channels first"),
        ((4, 0, 32, 3), jnp.float32, "0x32 are too small for this network"),
        ((4, 32, 32, 3), jnp.uint8, "floating-point numbers, not uint8"),
        ((4, 32, 32, 3), jnp.int32, "floating-point numbers, not int32"),
        ((4, 32, 32, 3), jnp.bool_, "floating-point numbers, not bool"),
    ],
)
def test_images_that_no_network_takes(name: str, shape: Any, dtype: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        trace(name, shape, dtype)
    assert "\n" not in str(caught.value)


def test_images_below_what_the_pools_leave_are_refused() -> None:
    with pytest.raises(ModelError, match="28x28 are too small for this network: pad them to 32x32 or more"):
        trace("vgg16", (1, 28, 28, 1))
    with pytest.raises(ModelError, match="8x8 are too small for this network: pad them to 16x16"):
        trace("mnist_cnn", (1, 8, 8, 1))


@pytest.mark.parametrize(
    "shape", [(2, 32, 32, 1), (2, 8, 8, 3), (2, 9, 33, 13), (2, 1, 1, 3), (0, 32, 32, 3)]
)
def test_any_other_size_is_taken(shape: Any) -> None:
    trace("resnet20", shape)


@pytest.mark.parametrize("name", NAMES)
def test_images_of_another_channel_count_than_the_weights(name: str) -> None:
    model = create_model(name)
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), image)
    with pytest.raises(ModelError, match="weights are for images of 3 channels, and these have 1"):
        jax.eval_shape(lambda v: model.apply(v, jnp.zeros((1, 32, 32, 1)), train=False), variables)
