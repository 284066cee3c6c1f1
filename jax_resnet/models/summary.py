"""What a network consists of: layers, shapes, parameters and multiply-adds, without computing anything."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from jax_resnet.layers import BatchNorm

Shape = tuple[int, ...]


class Layer(NamedTuple):
    """One layer with parameters.

    Attributes:
        name: Its path in the variables, joined by slashes.
        kind: "conv 3x3, 32 groups", "linear" or "batch norm".
        input: Shape of its input, without the batch.
        output: Shape of its output, without the batch.
        parameters: Trained numbers.
        multiply_adds: For one image. As is the custom, of convolutions and linear layers only, without
            their biases; BatchNorm's can be folded into them.
    """

    name: str
    kind: str
    input: Shape
    output: Shape
    parameters: int
    multiply_adds: int


class Summary(NamedTuple):
    """All layers of a network, in the order in which they run."""

    layers: list[Layer]

    @property
    def parameters(self) -> int:
        """Of the whole network."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        """Of the whole network, for one image."""
        return sum(layer.multiply_adds for layer in self.layers)


def summary(model: nn.Module, image_shape: tuple[int, int, int] = (32, 32, 3)) -> Summary:
    """Lists a network's layers by tracing it: nothing is compiled or computed.

    Args:
        model: The network.
        image_shape: ``(height, width, channels)``.

    Raises:
        ValueError: The images are too small for the network.
    """
    layers: list[Layer] = []

    def watch(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        output = call(*args, **kwargs)
        if context.method_name == "__call__" and isinstance(context.module, nn.Conv | nn.Dense | BatchNorm):
            layers.append(_layer(context.module, args[0].shape[1:], output.shape[1:]))
        return output

    def trace(key: jax.Array, image: jax.Array) -> Any:
        with nn.intercept_methods(watch):
            return model.init(key, image, train=False)

    key = jax.eval_shape(lambda: jax.random.key(0))
    jax.eval_shape(trace, key, jax.ShapeDtypeStruct((1, *image_shape), jnp.float32))
    return Summary(layers)


def _layer(module: nn.Module, inputs: Shape, outputs: Shape) -> Layer:
    name = "/".join(module.path)
    if isinstance(module, BatchNorm):
        return Layer(name, "batch norm", inputs, outputs, 2 * inputs[-1], 0)
    weights = inputs[-1] * outputs[-1]
    kind = "linear"
    if isinstance(module, nn.Conv):
        size: Any = module.kernel_size
        weights = math.prod(size) * weights // module.feature_group_count
        kind = f"conv {'x'.join(map(str, size))}"
        if module.feature_group_count > 1:
            kind += f", {module.feature_group_count} groups"
    biases = outputs[-1] if module.use_bias else 0
    return Layer(name, kind, inputs, outputs, weights + biases, weights * math.prod(outputs[:-1]))
