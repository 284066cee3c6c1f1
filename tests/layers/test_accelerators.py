"""On GPU and TPU the networks are XLA's own operations: nothing of this library is in their programs."""

import re
from collections import Counter

import jax
import jax.numpy as jnp
import pytest

from jax_resnet import layers
from jax_resnet.models import create_model


def steps_of(name):
    """A training step and an evaluation step of a network, and the types of their arguments."""
    model = create_model(name, num_classes=10)
    images, labels = jax.ShapeDtypeStruct((4, 32, 32, 3), jnp.float32), jax.ShapeDtypeStruct((4,), jnp.int32)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)

    def train(variables, images, labels):
        def loss(params):
            logits, state = model.apply(
                {**variables, "params": params}, images, train=True, mutable=["batch_stats"]
            )
            return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(4), labels]), state

        return jax.grad(loss, has_aux=True)(variables["params"])

    def evaluate(variables, images, labels):
        return model.apply(variables, images, train=False).argmax(-1) == labels

    return (train, evaluate), (variables, images, labels)


@pytest.mark.parametrize("name", ["resnet18", "resnext50_32x4d"])
@pytest.mark.slow
def test_programs_for_accelerators_are_xla_operations_only(name):
    functions, arguments = steps_of(name)
    for function in functions:
        with layers.conv_implementation("auto"):
            traced = jax.jit(function).trace(*arguments)
        with layers.conv_implementation("xla"):
            expected = jax.jit(function).trace(*arguments).lower(lowering_platforms=("cuda",)).as_text()
        for platform in ("cuda", "tpu"):
            text = traced.lower(lowering_platforms=(platform,)).as_text()
            assert "custom_call" not in text
            # No operation of ours, and no branch that only CPU needs.
            operations = Counter(re.findall(r"stablehlo\.(\w+)", text))
            assert not {"case", "if", "optimization_barrier"} & set(operations)
            assert operations["convolution"] == len(re.findall(r"stablehlo\.convolution", expected))


def test_one_export_for_all_platforms_calls_nothing_foreign():
    (_, evaluate), arguments = steps_of("resnet20")
    exported = jax.export.export(jax.jit(evaluate), platforms=["cpu", "cuda", "tpu"])(*arguments)
    assert "custom_call" not in exported.mlir_module()
