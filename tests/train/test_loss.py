"""The loss, its labels, and the count of right predictions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_resnet.errors import TrainError
from jax_resnet.train import cross_entropy
from jax_resnet.train.loss import count_correct

LOGITS = jax.random.normal(jax.random.key(0), (6, 4))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [jnp.int32, jnp.uint8, jnp.int8])
def test_a_label_that_does_not_exist_has_the_loss_nan(smoothing: float, dtype: jnp.dtype) -> None:
    wrong = [-1, 4, 100, 3] if dtype != jnp.uint8 else [255, 4, 100, 3]
    labels = np.array([0, 3, *wrong]).astype(dtype)
    losses = cross_entropy(LOGITS, jnp.asarray(labels), smoothing)
    assert np.isnan(losses).tolist() == [False, False, True, True, True, False]
    valid = np.array([0, 1, 5])
    expected = cross_entropy(LOGITS[valid], jnp.asarray(labels[valid], jnp.int32), smoothing)
    np.testing.assert_array_equal(losses[valid], expected)


def test_the_gradients_of_valid_labels_are_unharmed() -> None:
    labels = jnp.asarray([0, 1, 2, 3, 0, 7])

    def mean_of_first(logits: jax.Array, count: int) -> jax.Array:
        return cross_entropy(logits, labels)[:count].sum()

    grads = jax.grad(mean_of_first)(LOGITS, 5)
    expected = jax.nn.softmax(LOGITS) - jax.nn.one_hot(labels, 4)
    np.testing.assert_allclose(grads[:5], expected[:5], rtol=1e-5, atol=1e-6)
    everything = jax.grad(mean_of_first)(LOGITS, 6)
    np.testing.assert_array_equal(everything[:5], grads[:5])
    np.testing.assert_array_equal(everything[5], 0)


def test_label_smoothing_mixes_with_the_uniform_target() -> None:
    logits = jnp.asarray([[2.0, 0.0, -1.0]])
    log_p = jax.nn.log_softmax(logits)[0]
    expected = -(0.9 * log_p[0] + 0.1 * log_p.mean())
    np.testing.assert_allclose(cross_entropy(logits, jnp.asarray([0]), 0.1), [expected], rtol=1e-6)


def test_probabilities_of_classes_are_labels_too() -> None:
    labels = jnp.asarray([0, 1, 2, 3, 0, 1])
    np.testing.assert_array_equal(
        cross_entropy(LOGITS, jax.nn.one_hot(labels, 4), 0.1), cross_entropy(LOGITS, labels, 0.1)
    )


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (jnp.zeros(6), "class numbers are integers, not float32"),
        (jnp.zeros((6, 1), jnp.int32), r"not of shape \(6, 1\) beside logits of shape \(6, 4\)"),
        (jnp.zeros((6, 5)), r"not of shape \(6, 5\)"),
        (jnp.zeros(5, jnp.int32), r"not of shape \(5,\)"),
        (jnp.zeros((), jnp.int32), r"not of shape \(\)"),
    ],
)
def test_labels_of_another_shape_are_refused(labels: jax.Array, message: str) -> None:
    with pytest.raises(TrainError, match=message):
        cross_entropy(LOGITS, labels)


def test_right_predictions_are_counted_where_the_mask_is_true() -> None:
    labels = jnp.argmax(LOGITS, -1)
    assert int(count_correct(LOGITS, labels.astype(jnp.uint8))) == 6
    assert int(count_correct(LOGITS, jax.nn.one_hot(labels, 4))) == 6
    assert int(count_correct(LOGITS, (labels + 1) % 4)) == 0
    assert int(count_correct(LOGITS, labels, jnp.arange(6) < 2)) == 2


@pytest.mark.parametrize(("dtype", "classes"), [(jnp.uint8, 256), (jnp.uint8, 1000), (jnp.int8, 200)])
def test_labels_of_a_type_too_narrow_for_the_number_of_classes(dtype: jnp.dtype, classes: int) -> None:
    logits = jax.random.normal(jax.random.key(1), (4, classes))
    labels = jnp.asarray([0, 5, 100, 127])
    losses = jax.jit(cross_entropy)(logits, labels.astype(dtype))
    np.testing.assert_array_equal(losses, jax.jit(cross_entropy)(logits, labels))
