"""``--whiten``: the first convolution from patches of the training images."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from experiments.program.errors import ConfigError
from experiments.training.prepare import TrainingData
from jax_resnet.data import ArraySplit
from jax_resnet.data.augment import normalize
from jax_resnet.models import whitening_kernel

__all__ = ["whitened"]

# Enough for the 12 x 12 covariance of 2x2 RGB patches: Jordan 2024 takes as many.
_IMAGES = 5000


def whitened(params: Any, data: TrainingData) -> Any:
    """The parameters with a whitening first convolution.

    Raises:
        ConfigError: The network's first convolution has not two outputs per direction of a patch, or the
            images are not in memory.
    """
    if not isinstance(data.train, ArraySplit):
        raise ConfigError("--whiten needs training images in memory: leave it out for streamed data")
    kernel = params.get("stem_conv", {}).get("kernel")
    size, _, channels, outputs = (0, 0, 0, 0) if kernel is None else kernel.shape
    if kernel is None or outputs != 2 * size * size * channels:
        raise ConfigError(
            "--whiten needs a first convolution with two outputs per value of a patch, such as the 24 of "
            "whitened_resnet8's for 2x2 RGB"
        )
    images = normalize(jnp.asarray(data.train.images[:_IMAGES]), data.mean, data.std)
    new = jnp.asarray(whitening_kernel(np.asarray(images), size), kernel.dtype)
    return {**params, "stem_conv": {**params["stem_conv"], "kernel": new}}
