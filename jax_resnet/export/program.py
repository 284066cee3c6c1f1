"""The function that is exported: from images to logits, in operations of XLA alone."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jax_resnet.data.augment import normalize
from jax_resnet.errors import ExportError
from jax_resnet.layers import conv_implementation
from jax_resnet.models import fold_batch_norm, unstack_blocks

__all__ = ["inference_function", "input_type"]


def inference_function(
    model: nn.Module,
    variables: Mapping[str, Any],
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    fold: bool = False,
    in_loops: bool = True,
) -> Callable[[jax.Array], jax.Array]:
    """Makes ``logits = function(images)``, with the weights and the preprocessing inside.

    Args:
        model: The network.
        variables: ``{"params", "batch_stats"}``.
        mean: Per channel, or of every pixel, nested ``(height, width, channels)``: subtracted from pixels
            scaled to [0, 1]. With ``mean`` and ``std`` the function
            takes uint8 images; without both it takes float32 images that are normalized already.
        std: Per channel; pixels are divided by it after ``mean`` is subtracted.
        fold: Fold BatchNorm into the convolutions, see ``models.fold_batch_norm``.
        in_loops: Keep the loops of a network with ``scan_layers``; False writes its blocks out.

    Returns:
        A function of images ``(N, height, width, channels)`` that returns float32 logits ``(N, classes)``.
        It uses the operations of XLA alone, whatever convolution is in use.

    Raises:
        ExportError: ``mean`` without ``std``, or networks that cannot be folded.
    """
    if (mean is None) != (std is None):
        raise ExportError("mean and std go together: give both or neither")
    if getattr(model, "scan_layers", False) and not in_loops:
        model, variables = model.clone(scan_layers=False), unstack_blocks(variables)
    if fold:
        try:
            model, variables = fold_batch_norm(model, variables)
        except ValueError as error:
            raise ExportError(f"fold: {error}") from None

    def function(images: jax.Array) -> jax.Array:
        if mean is not None and std is not None:
            images = normalize(images, mean, std)
        with conv_implementation("xla"):
            logits = jnp.asarray(model.apply(variables, images, train=False))
        return logits.astype(jnp.float32)

    return function


def input_type(
    image_shape: Sequence[int], mean: Sequence[float] | None, std: Sequence[float] | None
) -> jax.ShapeDtypeStruct:
    """Shape and dtype of the images, the first axis of any size.

    Raises:
        ExportError: The shape is not ``(height, width, channels)``, or ``mean`` and ``std`` have another
            number of channels.
    """
    if len(image_shape) != 3 or any(size < 1 for size in image_shape):
        raise ExportError(f"image_shape is (height, width, channels), not {tuple(image_shape)}")
    shape = np.asarray(mean).shape
    per_pixel = len(shape) > 1
    if per_pixel and shape != tuple(image_shape):
        raise ExportError(f"a mean of every pixel has the images' shape, {tuple(image_shape)}, not {shape}")
    for name, values in (("mean", None if per_pixel else mean), ("std", std)):
        if values is not None and len(values) != image_shape[2]:
            raise ExportError(
                f"{name} needs {image_shape[2]} numbers, one per channel of the images, not {len(values)}"
            )
    (batch,) = jax.export.symbolic_shape("batch")
    return jax.ShapeDtypeStruct((batch, *image_shape), jnp.uint8 if mean is not None else jnp.float32)
