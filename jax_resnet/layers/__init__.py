"""The layers under the networks, each beside its reference form."""

from jax_resnet.layers.conv.api import conv_general_dilated
from jax_resnet.layers.info import LayersInfo, info
from jax_resnet.layers.norm.module import BatchNorm
from jax_resnet.layers.norm.statistics import batch_statistics_over
from jax_resnet.layers.selection import Implementation, conv_implementation

__all__ = [
    "BatchNorm",
    "Implementation",
    "LayersInfo",
    "batch_statistics_over",
    "conv_general_dilated",
    "conv_implementation",
    "info",
]
