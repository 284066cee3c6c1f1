"""Names and shapes of a network's arrays, without making the arrays."""

from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.traverse_util import flatten_dict

from jax_resnet.errors import ModelError
from jax_resnet.models import MnistCNN, MnistPreActResNet

__all__ = ["Path", "Shape", "small_image_shape", "stem_kernel", "template", "torch_shape", "written_out"]

Path = tuple[str, ...]
Shape = tuple[int, ...]

# Only the first dense layer of mnist_* has a shape that depends on the images' size, which some networks need
# larger.
ENLARGED = (1, 4, 16)


def written_out(model: nn.Module) -> nn.Module:
    """The same network with every block on its own, where ``scan_layers`` runs them in a loop."""
    return model.clone(scan_layers=False) if getattr(model, "scan_layers", False) else model


def small_image_shape(model: nn.Module) -> tuple[int, int, int]:
    """``(height, width, channels)`` of small images that a network takes, MNIST's or CIFAR's."""
    return (28, 28, 1) if isinstance(model, MnistCNN | MnistPreActResNet) else (32, 32, 3)


def template(model: nn.Module, image_shape: tuple[int, int, int] | None = None) -> dict[Path, Shape]:
    """Shapes of all variables by path, such as ``("params", "head", "kernel")``; nothing is computed.

    Args:
        model: The network.
        image_shape: ``(height, width, channels)``; by default small images, enlarged where
            the network needs larger ones.

    Raises:
        ModelError: The network cannot take such images.
    """
    if image_shape is not None:
        return _traced(model, image_shape)
    height, width, channels = small_image_shape(model)
    for factor in ENLARGED:
        try:
            return _traced(model, (factor * height, factor * width, channels))
        except ModelError:  # more stages than such images have halves
            continue
    return _traced(model, (height, width, channels))


def _traced(model: nn.Module, image_shape: tuple[int, int, int]) -> dict[Path, Shape]:
    try:
        return dict(_trace(model, image_shape))
    except TypeError:  # a field of the network, a list perhaps, cannot be hashed
        return _trace.__wrapped__(model, image_shape)


# Tracing a thousand layers takes seconds, and conversions of one network come in pairs.
@lru_cache(4)
def _trace(model: nn.Module, image_shape: tuple[int, int, int]) -> dict[Path, Shape]:
    image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    variables: Any = jax.eval_shape(lambda key, image: model.init(key, image, train=False), key, image)
    return {path: value.shape for path, value in flatten_dict(variables).items()}


def stem_kernel(model: Any) -> Path:
    """Path of the only array whose shape depends on the number of channels of the images."""
    return "params", model.first_conv, "kernel"


def torch_shape(path: Path, shape: Shape) -> Shape:
    """Shape that PyTorch gives an array of ours: convolutions OIHW, linear layers (out, in)."""
    if path[-1] != "kernel":
        return shape
    if len(shape) == 4:
        height, width, inputs, outputs = shape
        return outputs, inputs, height, width
    inputs, outputs = shape
    # Squeeze-and-excitation has 1x1 convolutions there.
    return (outputs, inputs, 1, 1) if "se" in path else (outputs, inputs)
