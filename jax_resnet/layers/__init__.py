"""The layers that the networks are built from: a fast convolution on CPU, and batch normalization.

``README.md`` in this folder says how they run on each platform and what was measured.
"""

from jax_resnet.layers.conv.api import conv_general_dilated
from jax_resnet.layers.conv.bias import conv_bias
from jax_resnet.layers.info import LayersInfo, info
from jax_resnet.layers.memory import keep_memory_for_extension
from jax_resnet.layers.norm.module import BatchNorm
from jax_resnet.layers.norm.statistics import batch_statistics_over
from jax_resnet.layers.selection import Implementation, conv_implementation

__all__ = [
    "BatchNorm",
    "Implementation",
    "LayersInfo",
    "batch_statistics_over",
    "conv_bias",
    "conv_general_dilated",
    "conv_implementation",
    "info",
]

keep_memory_for_extension()
