"""The training and evaluation steps: pure functions of state and batch, to be jitted where they are used.

    step = jax.jit(make_train_step(model, tx, augment), donate_argnums=0)
    state, metrics = step(state, batch)

A batch is a dict: ``image`` (uint8 or float, NHWC), ``label`` (int32, (N,)), ``index`` (int32, (N,): which
example of the data set each is) and, in evaluation, ``mask`` (bool, (N,): false where padded). Metrics are
sums over examples beside their ``count``, so that they add up over batches of any size.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

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
        opt_state: The optimiser's.
        key: Never changes: step ``s`` draws from ``fold_in(key, s)``, example ``i`` from that and ``i``.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: optax.OptState
    key: jax.Array

    @property
    def variables(self) -> Variables:
        """What ``model.apply`` takes."""
        return {"params": self.params, "batch_stats": self.batch_stats}


def create_state(
    model: nn.Module, tx: optax.GradientTransformation, key: jax.Array, image_shape: tuple[int, int, int]
) -> TrainState:
    """Initialises the network and its optimiser for images ``(height, width, channels)``."""
    init_key, train_key = jax.random.split(key)
    variables = jax.jit(model.init, static_argnames="train")(
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
    """The loss of each example, ``(N,)``; targets are ``(1 - s) * one_hot + s / classes``."""
    targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), label_smoothing)
    return optax.softmax_cross_entropy(logits, targets)


def make_train_step(
    model: nn.Module,
    tx: optax.GradientTransformation,
    augment: Callable[[jax.Array, jax.Array], jax.Array],
    *,
    label_smoothing: float = 0.0,
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """Makes ``train_step(state, batch) -> (state, metrics)``.

    Args:
        model: Called with ``train=True``.
        tx: The optimiser.
        augment: From keys ``(N,)`` and the batch's images to what the network sees.
        label_smoothing: Of the loss.

    Returns:
        The step. Its metrics: ``loss`` and ``correct`` (sums), ``count``, and ``grad_norm``, the L2 norm
        of the mean loss's gradient; all are from before the update.
    """

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        step_key = jax.random.fold_in(state.key, state.step)
        augment_key, dropout_key = jax.random.split(step_key)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(augment_key, batch["index"])
        images = augment(keys, batch["image"])

        def loss_fn(params: Any) -> tuple[jax.Array, tuple[jax.Array, Any]]:
            logits, updated = model.apply(
                {"params": params, "batch_stats": state.batch_stats},
                images,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": dropout_key},
            )
            losses = cross_entropy(logits, batch["label"], label_smoothing)
            return losses.mean(), (logits, updated.get("batch_stats", {}))

        (loss, (logits, batch_stats)), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        count = jnp.asarray(batch["label"].shape[0], jnp.int32)
        metrics = {
            "loss": loss * count,
            "correct": jnp.sum(jnp.argmax(logits, -1) == batch["label"]),
            "count": count,
            "grad_norm": optax.tree.norm(grads),
        }
        state = state.replace(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            batch_stats=batch_stats,
            opt_state=opt_state,
        )
        return state, metrics

    return train_step


def make_eval_step(
    model: Network, preprocess: Callable[[jax.Array], jax.Array]
) -> Callable[[Variables, Batch], tuple[jax.Array, Metrics]]:
    """Makes ``eval_step(variables, batch) -> (logits, metrics)``, with metrics over unmasked examples.

    Args:
        model: Called with ``train=False``.
        preprocess: From the batch's images to what the network sees.
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
        return logits, metrics

    return eval_step
