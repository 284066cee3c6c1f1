"""Weights between PyTorch and this library; ``python -m jax_resnet.convert`` for files."""

from jax_resnet.convert.files import Weights, read_state_dict, read_weights, write_state_dict
from jax_resnet.convert.keys import STYLES
from jax_resnet.convert.state import count_classes, find_style, from_torch, to_torch

__all__ = [
    "STYLES",
    "Weights",
    "count_classes",
    "find_style",
    "from_torch",
    "read_state_dict",
    "read_weights",
    "to_torch",
    "write_state_dict",
]
