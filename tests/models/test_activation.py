"""Activations other than ReLU: networks equal a reference written in plain JAX, forward and backward."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jax_resnet.layers import BatchNorm
from jax_resnet.models import create_model, fold_batch_norm
from tests.helpers.quick import jit, trained

TINY: dict[str, Any] = {"stage_sizes": (1, 1), "widths": (8, 16), "shortcut": "B"}
IMAGES = jax.random.normal(jax.random.key(7), (4, 8, 8, 3))
Act = Callable[[jax.Array], jax.Array]


def conv(x: jax.Array, params: Any, strides: int = 1) -> jax.Array:
    kernel = params["kernel"]
    pad = kernel.shape[0] // 2
    return jax.lax.conv_general_dilated(
        x, kernel, (strides, strides), [(pad, pad)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def normalize(x: jax.Array, params: Any) -> jax.Array:
    mean, var = x.mean((0, 1, 2), keepdims=True), x.var((0, 1, 2), keepdims=True)
    scale, bias = (params[name].reshape(1, 1, 1, -1) for name in ("scale", "bias"))
    return (x - mean) / jnp.sqrt(var + 1e-5) * scale + bias


def post_activation(p: Any, x: jax.Array, act: Act) -> jax.Array:
    x = act(normalize(conv(x, p["stem_conv"]), p["stem_norm"]))
    for block, strides in ((p["stage1_block1"], 1), (p["stage2_block1"], 2)):
        y = act(normalize(conv(x, block["conv1"], strides), block["norm1"]))
        y = normalize(conv(y, block["conv2"]), block["norm2"])
        if strides > 1:
            x = normalize(conv(x, block["shortcut_conv"], strides), block["shortcut_norm"])
        x = act(x + y)
    return head(p, x)


def pre_activation(p: Any, x: jax.Array, act: Act) -> jax.Array:
    x = conv(x, p["stem_conv"])
    for block, strides in ((p["stage1_block1"], 1), (p["stage2_block1"], 2)):
        activated = act(normalize(x, block["norm1"]))
        y = act(normalize(conv(activated, block["conv1"], strides), block["norm2"]))
        y = conv(y, block["conv2"])
        x = y + (conv(activated, block["shortcut_conv"], strides) if strides > 1 else x)
    return head(p, act(normalize(x, p["final_norm"])))


def head(p: Any, x: jax.Array) -> jax.Array:
    return x.mean((1, 2)) @ p["head"]["kernel"] + p["head"]["bias"].reshape(1, -1)


@pytest.mark.parametrize("act", ["relu", "gelu", "silu"])
@pytest.mark.parametrize(
    ("name", "reference"), [("resnet20", post_activation), ("preact_resnet18", pre_activation)]
)
@pytest.mark.slow
def test_a_network_equals_its_reference(name: str, reference: Any, act: str) -> None:
    function = getattr(jax.nn, act)
    model = create_model(name, **TINY, act=function)
    variables = trained(model, IMAGES.shape[1:])

    def ours(params: Any) -> Any:
        out, _ = model.apply({**variables, "params": params}, IMAGES, train=True, mutable=["batch_stats"])
        return jnp.sum(jnp.sin(out)), out

    def theirs(params: Any) -> Any:
        out = reference(params, IMAGES, function)
        return jnp.sum(jnp.sin(out)), out

    (_, out), grads = jit(jax.value_and_grad(ours, has_aux=True))(variables["params"])
    (_, expected), expected_grads = jit(jax.value_and_grad(theirs, has_aux=True))(variables["params"])
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3), grads, expected_grads)


@pytest.mark.parametrize("name", ["resnet20", "preact_resnet18", "vgg11"])
def test_relu_alone_is_computed_by_the_normalization(name: str) -> None:
    def relus(**options: Any) -> list[bool]:
        found = []

        def watch(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
            if isinstance(context.module, BatchNorm) and context.method_name == "__call__":
                found.append(kwargs.get("relu", False))
            return call(*args, **kwargs)

        model = create_model(name, stage_sizes=(1, 1), widths=(8, 16), **options)
        with nn.intercept_methods(watch):
            jax.eval_shape(lambda: model.init(jax.random.key(0), IMAGES, train=False))
        return found

    assert any(relus())
    assert relus() == relus(act="relu") == relus(act=jax.nn.relu)
    assert not any(relus(act=jax.nn.gelu))


@pytest.mark.parametrize("name", ["vgg11", "mnist_cnn", "mnist_preact_resnet", "seresnet18"])
@pytest.mark.slow
def test_every_network_has_the_option(name: str) -> None:
    small: dict[str, Any] = {} if name == "mnist_cnn" else {"stage_sizes": (1, 1), "widths": (16, 32)}
    images = jax.random.normal(jax.random.key(7), (2, 16, 16, 3))
    variables = trained(create_model(name, **small), images.shape[1:])
    logits = [
        create_model(name, **small, act=act).apply(variables, images, train=False)
        for act in ("relu", "tanh", jnp.tanh)
    ]
    assert not np.allclose(logits[0], logits[1], rtol=1e-2)
    np.testing.assert_array_equal(logits[1], logits[2])


def test_a_folded_network_keeps_its_activation() -> None:
    model = create_model("resnet20", **TINY, act="silu")
    variables = trained(model, IMAGES.shape[1:])
    folded, folded_variables = fold_batch_norm(model, variables)
    np.testing.assert_allclose(
        folded.apply(folded_variables, IMAGES, train=False),
        model.apply(variables, IMAGES, train=False),
        rtol=1e-4,
        atol=1e-4,
    )
