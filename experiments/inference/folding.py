"""Networks for evaluation and prediction: BatchNorm folded into the convolutions where that is faster."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jax_resnet import layers
from jax_resnet.errors import ModelError
from jax_resnet.models import fold_batch_norm

__all__ = ["fold_where_faster"]


def fold_where_faster(model: nn.Module, variables: dict[str, Any]) -> tuple[nn.Module, dict[str, Any]]:
    """The network that gives the same logits in less time, with its variables.

    oneDNN computes bias, residual and ReLU of a folded network together with the convolution. XLA has nothing
    to gain from folding: it computes what follows a convolution in one pass either way. In bfloat16 the
    logits would be others, of the same accuracy: such a network stays as it was trained.
    """
    exact = getattr(model, "dtype", None) == jnp.float32
    if not exact or getattr(model, "folded", False) or layers.info().in_use != "onednn":
        return model, variables
    try:
        return fold_batch_norm(model, variables)
    except ModelError:  # nothing to fold, or something that cannot be
        return model, variables
