"""The layers under the networks, each beside its reference form."""

from jax_resnet.layers.conv import conv_general_dilated
from jax_resnet.layers.norm import BatchNorm

__all__ = ["BatchNorm", "conv_general_dilated"]
