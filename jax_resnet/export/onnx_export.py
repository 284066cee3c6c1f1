"""Networks as ONNX, by translating the operations that JAX traces.

Why not a converter from PyPI: of those that start from JAX only jax2onnx is kept up, and it holds
orbax-checkpoint below the version that this library needs. PyTorch's exporter would need a PyTorch twin of
every network and option. A network at inference is about thirty operations of ``jax.lax``; each of them is a
few lines over the ``onnx`` package, which also checks the result, and another one is refused by name.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.errors import FlaxError

from jax_resnet._text import first_line
from jax_resnet.errors import ExportError
from jax_resnet.export.program import inference_function, input_type

__all__ = ["to_onnx"]


def to_onnx(
    model: nn.Module,
    variables: Mapping[str, Any],
    image_shape: tuple[int, int, int],
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    fold: bool = False,
) -> bytes:
    """Serializes a network with its weights and its preprocessing as ONNX, for batches of any size.

    Inside, images are channels-first, as ONNX has them, so that runtimes need not transpose between layers.

    Args:
        model: The network; it is exported in float32, whatever ``model.dtype`` is.
        variables: ``{"params", "batch_stats"}``.
        image_shape: ``(height, width, channels)``.
        mean: See ``inference_function``: with ``mean`` and ``std`` images are uint8.
        std: See ``inference_function``.
        fold: Fold BatchNorm into the convolutions.

    Returns:
        The content of the file. Its input ``images`` is ``(batch, height, width, channels)``, its output
        ``logits`` is float32, ``(batch, classes)``.

    Raises:
        ExportError: An argument is wrong, the network cannot take such images, or it has an operation that
            has no translation.
        ImportError: onnx is not installed.
    """
    try:
        import onnx  # noqa: F401
    except ImportError:
        raise ImportError("exporting ONNX needs onnx: pip install -e '.[export]'") from None
    from jax_resnet.export.onnx_translate import translate

    images = input_type(image_shape, mean, std)
    if hasattr(model, "dtype"):
        model = model.clone(dtype=jnp.float32)
    function = inference_function(model, variables, mean=mean, std=std, fold=fold, in_loops=False)
    try:
        closed = jax.make_jaxpr(function)(images)
    except (ValueError, TypeError, FlaxError) as error:
        raise ExportError(f"the network cannot be exported: {first_line(error)}") from error
    return translate(closed, name=type(model).__name__)
