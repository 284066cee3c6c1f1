"""Checkpoints with orbax: a training run's, and single portable ones.

A checkpoint of step ``s`` is a folder ``<run>/checkpoints/<s>`` with these items:

- ``state``: ``{"params", "batch_stats"}`` for evaluation; the moving average, where training keeps one.
- ``training``: optimizer state, step and random key, and the raw parameters next to a moving average.
- ``config``: JSON, what the network and its run were built from.
- ``data``: JSON, the position in the stream of training examples.
- ``metrics``: JSON, the validation accuracy, where there is one.
- ``manifest.json``: size and checksum of every file.

Reading the network back needs neither the optimizer nor the devices that wrote it. ``README.md`` beside this
file says how to read a checkpoint with orbax alone, and what happens when files are damaged.
"""

from jax_resnet.checkpoint.finite import NonFiniteError
from jax_resnet.checkpoint.items import is_checkpoint
from jax_resnet.checkpoint.manager import Checkpointer
from jax_resnet.checkpoint.portable import CheckpointWarning, Restored, restore, save
from jax_resnet.checkpoint.steps import CHECKPOINTS
from jax_resnet.errors import CheckpointError

__all__ = [
    "CHECKPOINTS",
    "CheckpointError",
    "CheckpointWarning",
    "Checkpointer",
    "NonFiniteError",
    "Restored",
    "is_checkpoint",
    "restore",
    "save",
]
