"""How an implementation of the convolution is requested."""

import threading

import jax
import jax.numpy as jnp
import pytest

from jax_resnet import layers
from jax_resnet.errors import ModelError

DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def primitive_of(x):
    """The name of the one operation that a convolution is traced to."""
    f = jax.jit(
        lambda x: layers.conv_general_dilated(
            x, jnp.ones((1, 1, 2, 2)), (1, 1), "SAME", None, None, DIMENSIONS
        )
    )
    return str(jax.make_jaxpr(f)(x))


def test_a_compiled_function_follows_the_context(monkeypatch):
    monkeypatch.delenv("JAX_RESNET_CONV", raising=False)
    traced = []

    @jax.jit
    def f(x):
        traced.append(layers.info().requested)
        return layers.conv_general_dilated(
            x, jnp.ones((1, 1, 2, 2)), (1, 1), "SAME", dimension_numbers=DIMENSIONS
        )

    x = jnp.ones((1, 4, 4, 2))
    f(x)
    with layers.conv_implementation("xla"):
        f(x)
        with layers.conv_implementation("jax"):
            f(x)
        f(x)
    f(x)
    assert traced == ["auto", "xla", "jax"]
    with layers.conv_implementation("xla"):
        assert "conv_general_dilated" in primitive_of(x)
    assert "jax_resnet_conv" in primitive_of(x)


def test_a_context_belongs_to_its_thread():
    seen = []
    with layers.conv_implementation("xla"):
        thread = threading.Thread(target=lambda: seen.append(layers.info().requested_by))
        thread.start()
        thread.join()
        assert layers.info().requested == "xla"
    assert seen[0] != "conv_implementation"


def test_argument_then_context_then_environment(monkeypatch):
    monkeypatch.setenv("JAX_RESNET_CONV", "jax")
    assert layers.info()[1:3] == ("jax", "JAX_RESNET_CONV")
    with layers.conv_implementation("xla"):
        assert layers.info()[1:4] == ("xla", "conv_implementation", "xla")
        call = jax.make_jaxpr(
            lambda x: layers.conv_general_dilated(
                x, jnp.ones((1, 1, 2, 2)), (1, 1), "SAME", dimension_numbers=DIMENSIONS, implementation="jax"
            )
        )
        assert "jax_resnet_conv" in str(call(jnp.ones((1, 4, 4, 2))))
    monkeypatch.delenv("JAX_RESNET_CONV")
    assert layers.info()[1:3] == ("auto", "the default")


def test_unknown_names_are_refused_with_the_nearest_name(monkeypatch):
    with pytest.raises(
        ModelError, match=r"'onednm', which is none of auto, xla, jax, onednn; did you mean onednn\?"
    ):
        layers.conv_implementation("onednm").__enter__()
    with pytest.raises(ModelError, match=r"'12345', which is none of auto, xla, jax, onednn$"):
        layers.conv_implementation("12345").__enter__()
    monkeypatch.setenv("JAX_RESNET_CONV", "XLA")
    with pytest.raises(ModelError, match=r"JAX_RESNET_CONV is 'XLA'.*did you mean xla"):
        layers.info()
