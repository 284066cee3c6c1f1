"""Exact evaluation over a whole split."""

from collections.abc import Callable
from contextlib import closing
from typing import NamedTuple

import jax
import numpy as np

from jax_resnet import train
from jax_resnet.data import Split
from jax_resnet.parallel import allgather_rows, process_shard


class Evaluation(NamedTuple):
    """Means over every example, each counted once.

    Attributes:
        loss: Cross-entropy in nats.
        accuracy: Share that is right.
        images: How many there were.
        logits: float32, (images, classes), in the split's order.
        labels: int32, (images,), likewise: whoever streams learns them only now.
    """

    loss: float
    accuracy: float
    images: int
    logits: np.ndarray
    labels: np.ndarray


def evaluate(
    eval_step: Callable[[train.Variables, train.Batch], tuple[jax.Array, train.Metrics]],
    variables: train.Variables,
    split: Split,
    batch_size: int,
    advance: Callable[[int], None] = lambda n: None,
) -> Evaluation:
    """Runs a network over a split; every example counts exactly once, whatever the batch size.

    Args:
        eval_step: See ``train.make_eval_step``.
        variables: Of the network.
        split: The examples.
        batch_size: As many as there are examples do; rounded up to what devices can share equally.
        advance: Told of every batch done how many examples it had.
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
    # Padding is at the very end alone, whoever's rows it is in.
    return Evaluation(
        loss / count, correct / count, count, np.concatenate(logits)[:count], allgather_rows(labels)[:count]
    )
