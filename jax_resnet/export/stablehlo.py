"""Networks as StableHLO: a file that JAX runs without this library, on CPU, GPU and TPU."""

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.export
from flax import linen as nn
from flax.errors import FlaxError

from jax_resnet._text import first_line
from jax_resnet.errors import ExportError
from jax_resnet.export.program import inference_function, input_type

__all__ = ["PLATFORMS", "to_stablehlo"]

PLATFORMS = ("cpu", "cuda", "tpu")


def to_stablehlo(
    model: nn.Module,
    variables: Mapping[str, Any],
    image_shape: tuple[int, int, int],
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    fold: bool = False,
    platforms: Sequence[str] = PLATFORMS,
) -> bytes:
    """Serializes a network with its weights and its preprocessing, for batches of any size.

    A process with JAX and flatbuffers, and without this library or Flax, runs it:
    ``logits = jax.export.deserialize(bytearray(content)).call(images)``.

    Args:
        model: The network.
        variables: ``{"params", "batch_stats"}``.
        image_shape: ``(height, width, channels)``.
        mean: See ``inference_function``: with ``mean`` and ``std`` images are uint8.
        std: See ``inference_function``.
        fold: Fold BatchNorm into the convolutions.
        platforms: Where it will run: any of ``PLATFORMS`` and what else ``jax.export`` knows.

    Returns:
        The content of the file. It takes ``(N, *image_shape)`` and returns float32 logits ``(N, classes)``.

    Raises:
        ExportError: An argument is wrong, or the network cannot take such images.
        ImportError: flatbuffers is not installed.
    """
    if importlib.util.find_spec("flatbuffers") is None:  # jax.export serializes with it
        raise ImportError("exporting StableHLO needs flatbuffers: pip install -e '.[export]'")
    images = input_type(image_shape, mean, std)
    function = inference_function(model, variables, mean=mean, std=std, fold=fold)
    try:
        exported = jax.export.export(jax.jit(function), platforms=tuple(platforms))(images)
    except (ValueError, TypeError, FlaxError) as error:
        raise ExportError(f"the network cannot be exported: {first_line(error)}") from error
    return bytes(exported.serialize())
