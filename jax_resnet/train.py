"""The training and evaluation steps: pure functions of state and batch, to be jitted where they are used.

    step = jax.jit(make_train_step(model, tx, augment), donate_argnums=0)
    state, metrics = step(state, batch)

A batch is a dict: ``image`` (uint8 or float, NHWC), ``label`` (int32, (N,)), ``index`` (int32, (N,): which
example of the data set each is) and, in evaluation, ``mask`` (bool, (N,): false where padded). Metrics are
sums over examples beside their ``count``, so that they add up over batches of any size.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol, cast

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

from jax_resnet.averaging import moving_average
from jax_resnet.layers import batch_statistics_over

Batch = Mapping[str, Any]
Metrics = dict[str, jax.Array]
Variables = dict[str, Any]


class Network(Protocol):
    """What a step needs of a network: a flax module's ``apply``."""

    def apply(self, variables: Any, images: jax.Array, *, train: bool) -> Any:
        """Maps variables and NHWC images to logits."""


class TrainState(struct.PyTreeNode):
    """Everything that training changes, and the key it draws from.

    Attributes:
        step: Updates made so far, int32.
        params: The network's parameters.
        batch_stats: BatchNorm's running statistics.
        opt_state: The optimizer's.
        key: Never changes: step ``s`` draws from ``fold_in(key, s)``, example ``i`` from that and ``i``.
        average: Moving average of ``variables``, see ``averaging``; None where there is none.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: optax.OptState
    key: jax.Array
    average: Any = None

    @property
    def variables(self) -> Variables:
        """What ``model.apply`` takes, as training moves it."""
        return {"params": self.params, "batch_stats": self.batch_stats}

    @property
    def eval_variables(self) -> Variables:
        """What to evaluate and to keep: the moving average where there is one, else ``variables``."""
        return self.variables if self.average is None else self.average

    def averaging(self) -> "TrainState":
        """The state with a moving average that starts here."""
        return self.replace(average=jax.tree.map(jnp.copy, self.variables))


def create_state(
    model: nn.Module, tx: optax.GradientTransformation, key: jax.Array, image_shape: tuple[int, int, int]
) -> TrainState:
    """Initializes the network and its optimizer for images ``(height, width, channels)``."""
    init_key, train_key = jax.random.split(key)
    # What runs once is not worth optimizing, which takes XLA on CPU four times as long as all the rest.
    at_once = jax.default_backend() == "cpu" and not isinstance(key, jax.core.Tracer)
    options = {"xla_backend_optimization_level": 0} if at_once else None
    variables = jax.jit(model.init, static_argnames="train", compiler_options=options)(
        init_key, jnp.zeros((1, *image_shape)), train=False
    )
    params = variables["params"]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=variables.get("batch_stats", {}),
        opt_state=tx.init(params),
        key=train_key,
    )


def cross_entropy(logits: jax.Array, labels: jax.Array, label_smoothing: float = 0.0) -> jax.Array:
    """The loss of each example, ``(N,)``; targets are ``(1 - s) * labels + s / classes``.

    Args:
        logits: ``(N, classes)``.
        labels: Class numbers ``(N,)``, or shares of each class ``(N, classes)``.
        label_smoothing: ``s``.
    """
    shares = labels if labels.ndim == 2 else jax.nn.one_hot(labels, logits.shape[-1])
    return optax.softmax_cross_entropy(logits, optax.smooth_labels(shares, label_smoothing))


def make_train_step(
    model: nn.Module,
    tx: optax.GradientTransformation,
    augment: Callable[..., jax.Array],
    *,
    mix: Callable[..., tuple[jax.Array, jax.Array]] | None = None,
    label_smoothing: float = 0.0,
    ema: float = 0.999,
    accumulate: int = 1,
    axis_name: str | None = None,
    batch_norm: Literal["global", "per-device"] = "global",
    steps_per_epoch: int | None = None,
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """Makes ``train_step(state, batch) -> (state, metrics)``.

    Under ``jit``, over one device or a mesh of many, the step sees the whole batch. In the body of a
    ``shard_map`` (``check_vma=False``) or ``pmap`` it sees a device's part, and ``axis_name`` makes it the
    same step: gradients and metrics are those of the whole batch, dropout draws anew on each device.

    Args:
        model: Called with ``train=True``.
        tx: The optimizer; where it takes extra arguments, it is told ``error``, the share of the batch that
            is predicted wrongly.
        augment: From keys ``(N,)`` and the batch's images to what the network sees.
        mix: From keys ``(N,)``, augmented images, labels, and the images and labels of their partners to
            mixed images and soft labels ``(N, classes)``: see ``data.augment.make_mix``. An image's partner
            is the one before it in the global batch, however that is spread or split.
        label_smoothing: Of the loss.
        ema: Decay of the moving average, where the state has one.
        accumulate: Parts of the batch that pass one after the other, their gradients averaged: the memory
            of a part, and the update of the whole batch but for BatchNorm, which normalizes each part by
            its own statistics and moves the running ones once a part.
        axis_name: The mapped axis over which the batch is shared.
        batch_norm: With ``axis_name``, whether statistics are the whole batch's or each device's own; of
            those the running statistics are averaged, which is exact, as they are linear in the batches'.
        steps_per_epoch: Where given, ``augment`` is called with ``index=`` and ``epoch=``, too, ``(N,)``
            each, as alternating flips need it; the epoch is ``state.step // steps_per_epoch``.

    Returns:
        The step. Its metrics: ``loss`` and ``correct`` (sums), ``count``, and ``grad_norm``, the L2 norm
        of the mean loss's gradient; all are from before the update. Of mixed images the class with the
        largest share is the correct one. ``learning_rate_scale`` is there where
        the optimizer's state has it.
    """
    tx = optax.with_extra_args_support(tx)

    def gradients(
        params: Any, batch_stats: Any, part: Batch, augment_key: jax.Array, dropout_key: jax.Array
    ) -> tuple[Any, Any, Metrics]:
        keys, images = _augmented(augment, augment_key, part)
        labels = part["label"]
        if mix is not None:
            if "partner" in part:
                other = part["partner"]
                partners = (_augmented(augment, augment_key, other)[1], other["label"])
            else:
                partners = _previous_rows((images, labels), axis_name)
            images, labels = mix(keys, images, labels, partners)

        def loss_fn(params: Any) -> tuple[jax.Array, tuple[jax.Array, Any]]:
            with batch_statistics_over(axis_name if batch_norm == "global" else None):
                logits, updated = model.apply(
                    {"params": params, "batch_stats": batch_stats},
                    images,
                    train=True,
                    mutable=["batch_stats"],
                    rngs={"dropout": dropout_key},
                )
            losses = cross_entropy(logits, labels, label_smoothing)
            return losses.mean(), (logits, updated.get("batch_stats", {}))

        (loss, (logits, batch_stats)), grads = jax.value_and_grad(loss_fn, has_aux=True)(params)
        count = jnp.asarray(part["label"].shape[0], jnp.int32)
        correct = jnp.sum(jnp.argmax(logits, -1) == (labels if mix is None else jnp.argmax(labels, -1)))
        return grads, batch_stats, {"loss": loss * count, "correct": correct, "count": count}

    def accumulated(
        params: Any, batch_stats: Any, batch: Batch, augment_key: jax.Array, dropout_key: jax.Array
    ) -> tuple[Any, Any, Metrics]:
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

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        step_key = jax.random.fold_in(state.key, state.step)
        augment_key, dropout_key = jax.random.split(step_key)
        if axis_name is not None:
            dropout_key = jax.random.fold_in(dropout_key, jax.lax.axis_index(axis_name))
        batch = dict(batch)
        if steps_per_epoch is not None:
            batch["epoch"] = jnp.broadcast_to(state.step // steps_per_epoch, batch["index"].shape)
        if mix is not None and accumulate > 1:
            # While the rows are together; their augmentation is made again from their own keys.
            batch["partner"] = _previous_rows(batch, axis_name)
        grads, batch_stats, metrics = (gradients if accumulate == 1 else accumulated)(
            state.params, state.batch_stats, batch, augment_key, dropout_key
        )
        if axis_name is not None:
            metrics = jax.lax.psum(metrics, axis_name)
            grads, batch_stats = jax.lax.pmean((grads, batch_stats), axis_name)
        error = 1 - metrics["correct"] / metrics["count"]
        updates, opt_state = tx.update(grads, state.opt_state, state.params, error=error)
        if (scale := optax.tree.get(opt_state, "learning_rate_scale")) is not None:
            metrics["learning_rate_scale"] = scale
        state = state.replace(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            batch_stats=batch_stats,
            opt_state=opt_state,
        )
        if state.average is not None:
            average = moving_average(state.average, state.variables, state.step, ema)
            state = state.replace(average=average)
        return state, {**metrics, "grad_norm": optax.tree.norm(grads)}

    return train_step


def _augmented(augment: Callable[..., jax.Array], key: jax.Array, rows: Batch) -> tuple[jax.Array, jax.Array]:
    """The key of each row, and the augmented images."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, rows["index"])
    where = {"index": rows["index"], "epoch": rows["epoch"]} if "epoch" in rows else {}
    return keys, augment(keys, rows["image"], **where)


def _previous_rows(rows: Any, axis_name: str | None) -> Any:
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


def make_train_steps(
    train_step: Callable[[TrainState, Batch], tuple[TrainState, Metrics]],
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """Makes several steps one program: ``train_steps(state, batches) -> (state, metrics)``.

    The device then goes from step to step without the host, which pays where a step takes less time than
    to dispatch it. On CPU it does not: XLA convolves several times slower in loops there.

    Args:
        train_step: See ``make_train_step``.

    Returns:
        The steps. Batches and metrics are those of ``train_step`` with an axis of steps in front.
    """
    return lambda state, batches: jax.lax.scan(train_step, state, dict(batches))


def make_eval_step(
    model: Network, preprocess: Callable[[jax.Array], jax.Array], *, axis_name: str | None = None
) -> Callable[[Variables, Batch], tuple[jax.Array, Metrics]]:
    """Makes ``eval_step(variables, batch) -> (logits, metrics)``, with metrics over unmasked examples.

    Args:
        model: Called with ``train=False``.
        preprocess: From the batch's images to what the network sees.
        axis_name: The mapped axis over which the batch is shared, where the step is the body of a
            ``shard_map`` or ``pmap``: logits and metrics are then those of the whole batch.
    """

    def eval_step(variables: Variables, batch: Batch) -> tuple[jax.Array, Metrics]:
        logits = cast(jax.Array, model.apply(variables, preprocess(batch["image"]), train=False))
        mask = batch["mask"]
        losses = cross_entropy(logits, batch["label"])
        metrics = {
            "loss": jnp.sum(jnp.where(mask, losses, 0.0)),
            "correct": jnp.sum(mask & (jnp.argmax(logits, -1) == batch["label"])),
            "count": jnp.sum(mask),
        }
        if axis_name is not None:
            logits = jax.lax.all_gather(logits, axis_name, tiled=True)
            metrics = jax.lax.psum(metrics, axis_name)
        return logits, metrics

    return eval_step
