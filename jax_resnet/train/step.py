"""The training step."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from jax_resnet.averaging import moving_average
from jax_resnet.errors import TrainError
from jax_resnet.layers import batch_statistics_over
from jax_resnet.train.loss import count_correct, cross_entropy
from jax_resnet.train.prepare import Augment, Mix, prepare, with_epoch, with_partners
from jax_resnet.train.state import Batch, Metrics, TrainState

__all__ = ["TrainStep", "make_train_step", "make_train_steps"]

TrainStep = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]
# From params, batch_stats, a batch, the key of the augmentation and the key of dropout to gradients of the
# mean loss, new batch_stats and metrics.
_Gradients = Callable[[Any, Any, Batch, jax.Array, jax.Array], tuple[Any, Any, Metrics]]


def make_train_step(
    model: nn.Module,
    tx: optax.GradientTransformation,
    augment: Augment | None = None,
    *,
    mix: Mix | None = None,
    label_smoothing: float = 0.0,
    ema: float = 0.999,
    accumulate: int = 1,
    axis_name: str | None = None,
    batch_norm: Literal["global", "per-device"] = "global",
    steps_per_epoch: int | None = None,
) -> TrainStep:
    """Makes ``train_step(state, batch) -> (state, metrics)``.

    Under ``jit``, over one device or a mesh of many, the step sees the whole batch. In the body of a
    ``shard_map`` (``check_vma=False``) or ``pmap`` it sees a device's part, and ``axis_name`` makes it the
    same step: gradients and metrics are those of the whole batch, dropout draws anew on each device.

    >>> import jax, jax.numpy as jnp
    >>> from jax_resnet import models, optim, train
    >>> model = models.create_model("resnet8", num_classes=2, widths=(4, 4, 4))
    >>> tx = optim.sgd(0.1)
    >>> state = train.create_state(model, tx, jax.random.key(0), (8, 8, 3))
    >>> step = jax.jit(train.make_train_step(model, tx))
    >>> images = jax.random.normal(jax.random.key(1), (4, 8, 8, 3))
    >>> batch = {"image": images, "label": jnp.asarray([0, 0, 1, 1])}
    >>> losses = []
    >>> for _ in range(20):
    ...     state, metrics = step(state, batch)
    ...     losses.append(float(metrics["loss"] / metrics["count"]))
    >>> print(int(state.step), losses[-1] < 0.1 * losses[0])
    20 True

    Args:
        model: Called with ``train=True``.
        tx: The optimizer; an optimizer with extra arguments gets ``error``, the fraction of the batch that
            is predicted wrongly.
        augment: From keys ``(N,)`` and the batch's images to what the network sees, such as
            ``data.augment.make_augment``; None if the images are normalized floats already. Keys are made
            from the batch's ``index``.
        mix: From keys ``(N,)``, augmented images, labels, and the images and labels of their partners to
            mixed images and probabilities of classes ``(N, classes)``: see ``data.augment.make_mix``. An
            image's partner is the one before it in the global batch, however that is spread or split.
        label_smoothing: Smoothing of the targets, see ``cross_entropy``.
        ema: Decay of the moving average, where the state has one.
        accumulate: Parts of the batch that pass one after the other, their gradients averaged: the memory
            of a part, and the update of the whole batch but for BatchNorm, which normalizes each part by
            its own statistics and moves the running ones once per part.
        axis_name: The mapped axis over which the batch is spread.
        batch_norm: With ``axis_name``, whether statistics are the whole batch's or each device's own; of
            those the running statistics are averaged, which is exact, as they are linear in the batches'.
        steps_per_epoch: Where given, ``augment`` is called with ``index=`` and ``epoch=``, too, ``(N,)``
            each, as alternating flips need it; the epoch is ``state.step // steps_per_epoch``.

    Returns:
        The step. Its metrics: ``loss`` and ``correct`` (sums), ``count``, and ``grad_norm``, the L2 norm
        of the mean loss's gradient; all are from before the update. The correct class of a mixed image is
        its most probable one. ``learning_rate_scale`` is there where the optimizer's state has it,
        the smallest of several.

    Raises:
        TrainError: When made: an option out of its range. When traced: it does not divide the batch, there
            is no ``index`` to draw augmentations from, or images are integers and nothing normalizes them.
    """
    if isinstance(accumulate, bool) or not isinstance(accumulate, int) or accumulate < 1:
        raise TrainError(f"accumulate is the number of parts of a batch, at least 1, not {accumulate!r}")
    if batch_norm not in ("global", "per-device"):
        raise TrainError(f'batch_norm is "global" or "per-device", not {batch_norm!r}')
    if not 0 <= ema <= 1:
        raise TrainError(f"ema is from 0 to 1, not {ema}")
    if not 0 <= label_smoothing <= 1:
        raise TrainError(f"label_smoothing is from 0 to 1, not {label_smoothing}")
    if steps_per_epoch is not None and steps_per_epoch < 1:
        raise TrainError(f"steps_per_epoch is at least 1, or None, not {steps_per_epoch}")
    tx = optax.with_extra_args_support(tx)

    def gradients(
        params: Any, batch_stats: Any, part: Batch, augment_key: jax.Array, dropout_key: jax.Array
    ) -> tuple[Any, Any, Metrics]:
        with jax.named_scope("augment"):
            images, labels = prepare(part, augment_key, augment, mix, axis_name)

        def loss_fn(params: Any) -> tuple[jax.Array, tuple[jax.Array, Any]]:
            with batch_statistics_over(axis_name if batch_norm == "global" else None):
                logits, updated = model.apply(
                    {"params": params, "batch_stats": batch_stats},
                    images,
                    train=True,
                    mutable=["batch_stats"],
                    rngs={"dropout": dropout_key},
                )
            with jax.named_scope("loss"):
                losses = cross_entropy(logits, labels, label_smoothing)
            return losses.mean(), (logits, updated.get("batch_stats", {}))

        (loss, (logits, updated)), grads = jax.value_and_grad(loss_fn, has_aux=True)(params)
        count = jnp.asarray(len(labels), jnp.int32)
        metrics = {"loss": loss * len(labels), "correct": count_correct(logits, labels), "count": count}
        return grads, updated, metrics

    accumulated = gradients if accumulate == 1 else _accumulated(gradients, accumulate)

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        step_key = jax.random.fold_in(state.key, state.step)
        augment_key, dropout_key = jax.random.split(step_key)
        if axis_name is not None:
            dropout_key = jax.random.fold_in(dropout_key, jax.lax.axis_index(axis_name))
        if steps_per_epoch is not None:
            batch = with_epoch(batch, state.step // steps_per_epoch)
        if mix is not None and accumulate > 1:
            batch = with_partners(batch, axis_name)
        grads, batch_stats, metrics = accumulated(
            state.params, state.batch_stats, batch, augment_key, dropout_key
        )
        if axis_name is not None:
            metrics = jax.lax.psum(metrics, axis_name)
            grads, batch_stats = jax.lax.pmean((grads, batch_stats), axis_name)
        with jax.named_scope("update"):
            error = 1 - metrics["correct"] / metrics["count"]
            updates, opt_state = tx.update(grads, state.opt_state, state.params, error=error)
            params = optax.apply_updates(state.params, updates)
        # Of several warm-ups, for parts of the network, the one that is furthest from its end.
        if scales := [scale for _, scale in optax.tree.get_all_with_path(opt_state, "learning_rate_scale")]:
            metrics["learning_rate_scale"] = jnp.stack(scales).min()
        state = state.replace(
            step=state.step + 1, params=params, batch_stats=batch_stats, opt_state=opt_state
        )
        if state.average is not None:
            with jax.named_scope("average"):
                average = moving_average(state.average, state.variables, state.step, ema)
            state = state.replace(average=average)
        return state, {**metrics, "grad_norm": optax.tree.norm(grads)}

    return train_step


def _accumulated(gradients: _Gradients, accumulate: int) -> _Gradients:
    """The same function, computed part after part of a batch."""

    def accumulated(
        params: Any, batch_stats: Any, batch: Batch, augment_key: jax.Array, dropout_key: jax.Array
    ) -> tuple[Any, Any, Metrics]:
        size = len(batch["label"])
        if size % accumulate:
            raise TrainError(f"accumulate={accumulate} does not divide a batch of {size}")
        # Every accumulate-th row, so that a batch spread over devices need not move between them.
        parts = jax.tree.map(lambda x: x.reshape(-1, accumulate, *x.shape[1:]).swapaxes(0, 1), dict(batch))

        def add(carry: Any, numbered: Any) -> tuple[Any, None]:
            batch_stats, sums = carry
            part, number = numbered
            key = jax.random.fold_in(dropout_key, number)
            grads, batch_stats, metrics = gradients(params, batch_stats, part, augment_key, key)
            return (batch_stats, jax.tree.map(jnp.add, sums, (grads, metrics))), None

        first = jax.tree.map(lambda x: x[0], parts)
        grads, _, metrics = jax.eval_shape(gradients, params, batch_stats, first, augment_key, dropout_key)
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (grads, metrics))
        # XLA is slow in loops on CPU, where the parts are written out one after the other instead.
        unroll = accumulate if jax.default_backend() == "cpu" else 1
        (batch_stats, (grads, metrics)), _ = jax.lax.scan(
            add, (batch_stats, zeros), (parts, jnp.arange(accumulate)), unroll=unroll
        )
        return jax.tree.map(lambda g: g / accumulate, grads), batch_stats, metrics

    return accumulated


def make_train_steps(train_step: TrainStep) -> TrainStep:
    """Makes several steps one program: ``train_steps(state, batches) -> (state, metrics)``.

    The device then goes from step to step without the host, which pays where a step takes less time than
    to dispatch it. On CPU it does not: XLA convolves several times slower in loops there.

    Args:
        train_step: See ``make_train_step``.

    Returns:
        The steps. Batches and metrics are those of ``train_step`` with an axis of steps in front.
    """
    return lambda state, batches: jax.lax.scan(train_step, state, dict(batches))
