"""Exact evaluation over a whole split."""

from collections.abc import Callable
from contextlib import closing
from typing import NamedTuple

import jax
import numpy as np

from jax_resnet import train
from jax_resnet.data import Split
from jax_resnet.parallel import process_shard
from jax_resnet.parallel.collectives import allgather_rows

__all__ = ["NOT_FINITE", "Evaluation", "evaluate"]

NOT_FINITE = "the weights are of a training that diverged, or too large for their type"


class Evaluation(NamedTuple):
    """Means over every example, each counted once.

    Attributes:
        loss: Cross-entropy in nats.
        accuracy: Fraction that is right.
        images: Number of examples.
        logits: float32 ``(images, classes)``, in the split's order.
        labels: int32 ``(images,)``, in the same order; a streamed split knows them only now.
    """

    loss: float
    accuracy: float
    images: int
    logits: np.ndarray
    labels: np.ndarray


def evaluate(
    eval_step: train.EvalStep,
    variables: train.Variables,
    split: Split,
    batch_size: int,
    advance: Callable[[int], None] = lambda n: None,
) -> Evaluation:
    """Runs a network over a split; every example counts exactly once, whatever the batch size.

    Args:
        eval_step: See ``train.make_eval_step``.
        variables: The network's variables.
        split: The examples.
        batch_size: Capped at the split size, then rounded up to a multiple of the device count.
        advance: Called after every batch with its number of examples.
    """
    batch_size = min(batch_size, len(split))
    batch_size += -batch_size % jax.device_count()
    loss, correct, count, logits, labels = 0.0, 0, 0, [], []
    with closing(split.eval_batches(batch_size, shard=process_shard())) as batches:
        for batch in batches:
            batch_logits, metrics = eval_step(variables, batch)
            logits.append(np.asarray(batch_logits))
            labels.append(batch["label"])
            loss += float(metrics["loss"])
            correct += int(metrics["correct"])
            count += int(metrics["count"])
            advance(int(metrics["count"]))
    # Padding is at the very end alone, whichever process has those rows.
    return Evaluation(
        loss / count, correct / count, count, np.concatenate(logits)[:count], allgather_rows(labels)[:count]
    )
