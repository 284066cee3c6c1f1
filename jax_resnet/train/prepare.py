"""What happens to a batch in the training step before the network sees it: augmentation and mixing."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jax_resnet.errors import TrainError
from jax_resnet.train.state import Batch

__all__ = ["Augment", "Mix", "check_normalized", "prepare", "previous_rows", "with_epoch", "with_partners"]

# From keys (N,), the batch's images and, where it needs them, index= and epoch= to what the network sees.
Augment = Callable[..., jax.Array]
# From keys (N,), augmented images, labels (N,) and the images and labels of their partners to mixed images
# and probabilities of classes (N, classes).
Mix = Callable[..., tuple[jax.Array, jax.Array]]


def check_normalized(images: jax.Array, function: str) -> None:
    """Raises TrainError for integer images that no ``function`` normalizes."""
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise TrainError(
            f"without {function}, images are normalized floating-point numbers, not {images.dtype}: "
            f"pass {function}=, or normalize them (data.augment.normalize)"
        )


def prepare(
    part: Batch, key: jax.Array, augment: Augment | None, mix: Mix | None, axis_name: str | None
) -> tuple[jax.Array, jax.Array]:
    """Images and labels as the network and the loss take them.

    Raises:
        TrainError: There is no ``index`` to draw augmentations from, or images are integers and nothing
            normalizes them.
    """
    if augment is None:
        check_normalized(part["image"], "augment")
    if augment is None and mix is None:
        return part["image"], part["label"]
    if "index" not in part:
        raise TrainError(
            "the batch has no 'index', from which the augmentation draws: "
            "add the number of each example in the data set, int32 (N,)"
        )
    keys, images = _augmented(part, key, augment)
    labels = part["label"]
    if mix is None:
        return images, labels
    if "partner" in part:
        partner = part["partner"]
        partners = (_augmented(partner, key, augment)[1], partner["label"])
    else:
        partners = previous_rows((images, labels), axis_name)
    return mix(keys, images, labels, partners)


def _augmented(rows: Batch, key: jax.Array, augment: Augment | None) -> tuple[jax.Array, jax.Array]:
    """The key of each row, and the augmented images."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, rows["index"])
    if augment is None:
        return keys, rows["image"]
    where = {"index": rows["index"], "epoch": rows["epoch"]} if "epoch" in rows else {}
    return keys, augment(keys, rows["image"], **where)


def with_epoch(batch: Batch, epoch: jax.Array) -> Batch:
    """The batch with its epoch in every row, int32 ``(N,)``."""
    return {**batch, "epoch": jnp.broadcast_to(epoch, batch["label"].shape[:1])}


def with_partners(batch: Batch, axis_name: str | None) -> Batch:
    """The batch with the row before each row under ``partner``, for a batch that is split afterwards.

    The partners' augmentation is made again from their own keys.
    """
    return {**batch, "partner": previous_rows(dict(batch), axis_name)}


def previous_rows(rows: Any, axis_name: str | None) -> Any:
    """For each row the one before it in the global batch, for the first the last, in arrays ``(N, ...)``.

    Args:
        rows: All rows, or, with ``axis_name``, a device's part of them.
        axis_name: The mapped axis over which the batch is spread.
    """

    def previous(x: jax.Array) -> jax.Array:
        if axis_name is None:
            return jnp.roll(x, 1, axis=0)
        devices = jax.lax.axis_size(axis_name)
        ring = [(device, (device + 1) % devices) for device in range(devices)]
        return jnp.concatenate([jax.lax.ppermute(x[-1:], axis_name, ring), x[:-1]])

    return jax.tree.map(previous, rows)
