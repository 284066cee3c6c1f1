"""Averages of a network's variables over training, and BatchNorm statistics that belong to them.

Averaged weights lie nearer the middle of the region that SGD moves in (Polyak and Juditsky 1992), and test
better than the last ones while the learning rate is high.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jax_resnet.errors import ModelError, TrainError
from jax_resnet.layers.dtypes import wide_dtype

__all__ = ["moving_average", "reestimate_batch_stats"]


def moving_average(average: Any, variables: Any, step: jax.Array, decay: float) -> Any:
    """``d * average + (1 - d) * variables`` with ``d = min(decay, (1 + step) / (10 + step))``.

    The smaller ``d`` of early steps lets go of the initial weights, as TensorFlow's
    ``ExponentialMovingAverage`` does with ``num_updates``. BatchNorm's running statistics are averaged like
    the parameters: those of the moving network belong to other weights than the averaged ones. That they
    are near enough to what the averaged network would see is an approximation; where it is not good
    enough, ``reestimate_batch_stats`` recomputes them.

    Args:
        average: The average so far; a tree of arrays.
        variables: Variables after the newest update; a tree of the same structure.
        step: Updates made, the newest included, from 1; an integer scalar.
        decay: Weight of the past, in the long run.

    Returns:
        The new average, of the dtypes of the old one.
    """
    step = jnp.asarray(step, jnp.float32)
    d = jnp.minimum(decay, (1.0 + step) / (10.0 + step))

    def blend(a: jax.Array, v: jax.Array) -> jax.Array:
        wide = wide_dtype(a.dtype)
        # The old value plus a fraction of the difference: what does not change stays as it is, bit for bit.
        old = a.astype(wide)
        return (old + (1 - d).astype(wide) * (v.astype(wide) - old)).astype(a.dtype)

    return jax.tree.map(blend, average, variables)


def reestimate_batch_stats(
    model: nn.Module,
    variables: Mapping[str, Any],
    batches: Iterable[Any],
    *,
    key: jax.Array | None = None,
) -> dict[str, Any]:
    """Replaces the running statistics by their exact average over batches ("precise BatchNorm").

    Each batch passes through the network as in training, normalized by its own statistics; the new mean and
    variance of a layer are the averages of the batches' means and (unbiased) variances, weighted by their
    examples. Unlike a moving average, they do not favor the last batches (Wu and Johnson 2021, section 3;
    PyTorch's ``torch.optim.swa_utils.update_bn``). Frozen layers keep theirs.

    Args:
        model: A network with a ``norm_momentum``.
        variables: Its ``{"params", "batch_stats"}``.
        batches: Images ``(N, H, W, channels)`` as the network sees them in training: augmented, normalized.
            Each new batch size is compiled anew.
        key: Key for dropout, where the network has any; ``jax.random.key(0)`` by default.

    Returns:
        ``variables`` with the new ``batch_stats``.

    Raises:
        ModelError: The network has no BatchNorm.
        TrainError: There are no images.
    """
    if not hasattr(model, "norm_momentum") or not variables.get("batch_stats"):
        raise ModelError(f"this {type(model).__name__} has no BatchNorm: there is nothing to estimate")
    # Without momentum the running statistics after a batch are the batch's.
    immediate = model.clone(norm_momentum=0.0)
    base = jax.random.key(0) if key is None else key

    @jax.jit
    def statistics(images: jax.Array, index: jax.Array) -> Any:
        rngs = {"dropout": jax.random.fold_in(base, index)}
        _, updated = immediate.apply(dict(variables), images, train=True, mutable=["batch_stats"], rngs=rngs)
        return updated["batch_stats"]

    total: list[np.ndarray] | None = None
    count = 0
    for index, images in enumerate(batches):
        # Summed in double precision, so that the order of thousands of batches plays no role.
        sums = [len(images) * np.asarray(x, np.float64) for x in jax.tree.leaves(statistics(images, index))]
        total = sums if total is None else [a + b for a, b in zip(total, sums, strict=True)]
        count += len(images)
    if total is None or not count:
        raise TrainError("no images: the statistics cannot be estimated")
    old, tree = jax.tree.flatten(variables["batch_stats"])
    average = [jnp.asarray(x / count, before.dtype) for x, before in zip(total, old, strict=True)]
    return {**variables, "batch_stats": jax.tree.unflatten(tree, average)}
