"""Checkpoints with orbax: a training run's, and single portable ones.

A checkpoint of step ``s`` is a folder ``<run>/checkpoints/<s>`` of these items: ``variables``
(``{"params", "batch_stats"}``), ``training`` (optimizer state, step and key), ``config`` (JSON) and ``data``
(JSON: where the stream of examples is). Reading the network back needs neither the optimizer nor the devices
that wrote it. Where training keeps a moving average, that is what ``variables`` has, and ``training`` has
those that training goes on from.
"""

from jax_resnet.checkpoint.manager import Checkpointer
from jax_resnet.checkpoint.portable import Restored, restore, save
from jax_resnet.checkpoint.steps import CHECKPOINTS
from jax_resnet.errors import CheckpointError

__all__ = ["CHECKPOINTS", "CheckpointError", "Checkpointer", "Restored", "restore", "save"]
