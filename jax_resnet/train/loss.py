"""The loss of classification."""

import jax
import jax.numpy as jnp
import optax

from jax_resnet.errors import TrainError

__all__ = ["count_correct", "cross_entropy"]


def cross_entropy(logits: jax.Array, labels: jax.Array, label_smoothing: float = 0.0) -> jax.Array:
    """The cross-entropy of each example, ``(N,)``, from targets ``(1 - s) * labels + s / classes``.

    >>> import jax.numpy as jnp
    >>> logits = jnp.asarray([[2.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    >>> print([f"{loss:.4f}" for loss in cross_entropy(logits, jnp.asarray([0, 1, 7])).tolist()])
    ['0.1269', '0.6931', 'nan']

    Args:
        logits: ``(N, classes)``.
        labels: Class numbers ``(N,)``, integers, or probabilities of the classes ``(N, classes)``. The loss
            of an example whose class number is not in ``0 .. classes - 1`` is NaN, so that a wrong data set
            shows in the first step; its gradient is 0.
        label_smoothing: ``s``.

    Raises:
        TrainError: Logits and labels of shapes or dtypes that do not go together.
    """
    if labels.ndim == 1 and not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TrainError(f"class numbers are integers, not {labels.dtype}")
    if labels.shape not in (logits.shape[:1], logits.shape) or logits.ndim != 2:
        raise TrainError(
            f"labels are class numbers (N,) or probabilities (N, classes), not of shape {labels.shape} "
            f"beside logits of shape {logits.shape}"
        )
    if labels.ndim == 2:
        targets = optax.smooth_labels(labels.astype(logits.dtype), label_smoothing)
        return optax.softmax_cross_entropy(logits, targets)
    classes = logits.shape[-1]
    labels = labels.astype(jnp.int32)  # a narrower type cannot hold the number of classes
    targets = jax.nn.one_hot(labels, classes, dtype=logits.dtype)
    losses = optax.softmax_cross_entropy(logits, optax.smooth_labels(targets, label_smoothing))
    return jnp.where((labels >= 0) & (labels < classes), losses, jnp.nan)


def count_correct(logits: jax.Array, labels: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Number of examples whose largest logit is that of their class, int32.

    Args:
        logits: ``(N, classes)``.
        labels: Class numbers or probabilities, see ``cross_entropy``; the most probable class is correct.
        mask: Examples to count, ``(N,)``; all where None.
    """
    classes = jnp.argmax(labels, -1) if labels.ndim == 2 else labels
    right = jnp.argmax(logits, -1).astype(jnp.int32) == classes.astype(jnp.int32)
    return jnp.sum(right if mask is None else mask & right)
