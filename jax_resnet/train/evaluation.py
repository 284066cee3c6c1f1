"""The evaluation step."""

from collections.abc import Callable
from typing import cast

import jax
import jax.numpy as jnp

from jax_resnet.train.loss import count_correct, cross_entropy
from jax_resnet.train.prepare import check_normalized
from jax_resnet.train.state import Batch, Metrics, Network, Variables

__all__ = ["EvalStep", "Preprocess", "make_eval_step"]

EvalStep = Callable[[Variables, Batch], tuple[jax.Array, Metrics]]
Preprocess = Callable[[jax.Array], jax.Array]


def make_eval_step(
    model: Network, preprocess: Preprocess | None = None, *, axis_name: str | None = None
) -> EvalStep:
    """Makes ``eval_step(variables, batch) -> (logits, metrics)``.

    Args:
        model: Called with ``train=False``.
        preprocess: From the batch's images to what the network sees; None if they are normalized already.
        axis_name: The mapped axis over which the batch is spread, where the step is the body of a
            ``shard_map`` or ``pmap``: logits and metrics are then those of the whole batch.

    Returns:
        The step. Its metrics, ``loss``, ``correct`` and ``count``, are sums over the examples where the
        batch's ``mask`` is true; without a mask, over all.
    """

    def eval_step(variables: Variables, batch: Batch) -> tuple[jax.Array, Metrics]:
        images, labels = batch["image"], batch["label"]
        if preprocess is None:
            check_normalized(images, "preprocess")
        else:
            images = preprocess(images)
        logits = cast(jax.Array, model.apply(variables, images, train=False))
        mask = batch["mask"] if "mask" in batch else jnp.ones(len(labels), bool)
        metrics = {
            "loss": jnp.sum(jnp.where(mask, cross_entropy(logits, labels), 0.0)),
            "correct": count_correct(logits, labels, mask),
            "count": jnp.sum(mask),
        }
        if axis_name is not None:
            logits = jax.lax.all_gather(logits, axis_name, tiled=True)
            metrics = jax.lax.psum(metrics, axis_name)
        return logits, metrics

    return eval_step
