"""The training and evaluation steps."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_resnet import optim, train
from jax_resnet.data.augment import make_augment, make_mix, normalize
from jax_resnet.errors import TrainError
from jax_resnet.models import create_model

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 256, (8, 16, 16, 3), dtype=np.uint8),
        "label": rng.integers(0, 10, 8).astype(np.int32),
        "index": np.arange(8, dtype=np.int32),
    }


@pytest.fixture(scope="module")
def model():
    return create_model("resnet8")


def make_step(model, *, crop_padding=0, flip=False, learning_rate=0.05, **options):
    tx = optim.sgd(learning_rate, weight_decay=1e-3)
    augment = make_augment(MEAN, STD, crop_padding=crop_padding, flip=flip)
    state = train.create_state(model, tx, jax.random.key(0), (16, 16, 3))
    return state, jax.jit(train.make_train_step(model, tx, augment, **options))


def test_a_step_is_the_gradient_step_written_out(model, batch):
    state, step = make_step(model)
    images = normalize(batch["image"], MEAN, STD)

    def loss_fn(params):
        variables = {"params": params, "batch_stats": state.batch_stats}
        logits, updated = model.apply(variables, images, train=True, mutable=["batch_stats"])
        picked = jnp.take_along_axis(jax.nn.log_softmax(logits), batch["label"][:, None], 1)
        return -picked.mean(), (logits, updated)

    (loss, (logits, updated)), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    new, metrics = step(state, batch)

    assert float(metrics["loss"]) == pytest.approx(8 * float(loss), rel=1e-5)
    assert int(metrics["correct"]) == int((logits.argmax(-1) == batch["label"]).sum())
    assert int(metrics["count"]) == 8
    assert float(metrics["grad_norm"]) == pytest.approx(float(optax.tree.norm(grads)), rel=1e-4)
    assert int(new.step) == 1
    expected = jax.tree.map(lambda p, g: p - 0.05 * (g + 1e-3 * p), state.params, grads)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), new.params, expected)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        new.batch_stats,
        updated["batch_stats"],
    )


def test_training_lowers_the_loss(model, batch):
    state, step = make_step(model)
    losses = []
    for _ in range(15):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]) / 8)
    assert losses[-1] < 0.5 * losses[0]


def test_a_step_depends_on_seed_step_and_example_alone(model, batch):
    state, step = make_step(model, crop_padding=4, flip=True)
    again, _ = step(state, batch)
    first, metrics = step(state, batch)
    jax.tree.map(np.testing.assert_array_equal, first.params, again.params)

    order = np.random.default_rng(1).permutation(8)
    shuffled = {name: value[order] for name, value in batch.items()}
    _, other = step(state, shuffled)
    assert float(other["loss"]) == pytest.approx(float(metrics["loss"]), rel=1e-5)

    _, later = step(state.replace(step=state.step + 1), batch)
    assert float(later["loss"]) != float(metrics["loss"])


def test_evaluation_counts_unmasked_examples_only(model, batch):
    state, _ = make_step(model)
    eval_step = jax.jit(train.make_eval_step(model, lambda images: normalize(images, MEAN, STD)))
    whole_logits, whole = eval_step(state.variables, {**batch, "mask": np.ones(8, bool)})
    mask = np.arange(8) < 5
    logits, part = eval_step(state.variables, {**batch, "mask": mask})

    np.testing.assert_array_equal(logits, whole_logits)
    losses = train.cross_entropy(logits, batch["label"])
    assert int(part["count"]) == 5
    assert int(whole["count"]) == 8
    assert float(part["loss"]) == pytest.approx(float(losses[:5].sum()), rel=1e-6)
    assert int(part["correct"]) == int((logits.argmax(-1) == batch["label"])[:5].sum())


def test_dropout_draws_anew_each_step(batch):
    model = create_model("wrn_10_1", dropout=0.5)
    state, step = make_step(model)
    _, metrics = step(state, batch)
    _, same = step(state, batch)
    _, later = step(state.replace(step=state.step + 1), batch)
    assert float(metrics["loss"]) == float(same["loss"]) != float(later["loss"])


def test_a_network_without_batch_norm_trains_too():
    model = create_model("mnist_cnn")
    tx = optim.sgd(0.1)
    state = train.create_state(model, tx, jax.random.key(0), (28, 28, 1))
    assert state.batch_stats == {}
    step = jax.jit(train.make_train_step(model, tx, make_augment((0.1,), (0.3,), crop_padding=0, flip=False)))
    batch = {
        "image": np.zeros((4, 28, 28, 1), np.uint8),
        "label": np.zeros(4, np.int32),
        "index": np.arange(4, dtype=np.int32),
    }
    new, metrics = step(state, batch)
    assert int(new.step) == 1
    assert np.isfinite(metrics["loss"])


def test_normalized_images_need_no_augmentation_and_no_index(model, batch):
    state, step = make_step(model)
    new, metrics = step(state, batch)
    plain = jax.jit(train.make_train_step(model, optim.sgd(0.05, weight_decay=1e-3)))
    images = normalize(batch["image"], MEAN, STD)
    same, same_metrics = plain(state, {"image": images, "label": batch["label"]})
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), same.params, new.params)
    assert float(same_metrics["loss"]) == pytest.approx(float(metrics["loss"]), rel=1e-6)


@pytest.mark.parametrize(
    ("augment", "mix"),
    [(make_augment(MEAN, STD), None), (None, make_mix(10, mixup_alpha=1.0))],
    ids=["augment", "mix"],
)
def test_an_augmentation_without_an_index_to_draw_from_is_refused(model, batch, augment, mix):
    tx = optim.sgd(0.05)
    state = train.create_state(model, tx, jax.random.key(0), (16, 16, 3))
    step = train.make_train_step(model, tx, augment, mix=mix)
    image = batch["image"] if augment else np.float32(batch["image"])
    with pytest.raises(TrainError, match="the batch has no 'index', from which the augmentation draws"):
        jax.eval_shape(step, state, {"image": image, "label": batch["label"]})


def test_integer_images_that_nothing_normalizes_are_refused(model, batch):
    tx = optim.sgd(0.05)
    state = train.create_state(model, tx, jax.random.key(0), (16, 16, 3))
    with pytest.raises(TrainError, match=r"without augment, images are normalized .* not uint8"):
        jax.eval_shape(train.make_train_step(model, tx), state, batch)
    with pytest.raises(TrainError, match=r"without preprocess, images are normalized .* not uint8"):
        jax.eval_shape(train.make_eval_step(model), state.variables, batch)


def test_evaluation_without_preprocessing_and_mask_counts_every_example(model, batch):
    state, _ = make_step(model)
    images = normalize(batch["image"], MEAN, STD)
    whole = {"image": images, "label": batch["label"], "mask": np.ones(8, bool)}
    logits, metrics = jax.jit(train.make_eval_step(model))(state.variables, whole)
    del whole["mask"]
    same_logits, same = jax.jit(train.make_eval_step(model))(state.variables, whole)
    np.testing.assert_array_equal(same_logits, logits)
    jax.tree.map(np.testing.assert_array_equal, same, metrics)


def test_a_padded_row_may_have_any_label(model, batch):
    state, _ = make_step(model)
    eval_step = jax.jit(train.make_eval_step(model, lambda images: normalize(images, MEAN, STD)))
    labels = np.where(np.arange(8) < 5, batch["label"], -1)
    _, metrics = eval_step(state.variables, {**batch, "label": labels, "mask": np.arange(8) < 5})
    assert np.isfinite(metrics["loss"])


def test_a_label_that_does_not_exist_shows_in_the_loss(model, batch):
    state, step = make_step(model)
    _, metrics = step(state, {**batch, "label": batch["label"] + 10})
    assert np.isnan(metrics["loss"])


@pytest.mark.parametrize("accumulate", [3, 5, 16])
def test_parts_that_do_not_divide_the_batch_are_refused(model, batch, accumulate):
    tx = optim.sgd(0.05)
    state = train.create_state(model, tx, jax.random.key(0), (16, 16, 3))
    step = train.make_train_step(model, tx, make_augment(MEAN, STD), accumulate=accumulate)
    with pytest.raises(TrainError, match=f"accumulate={accumulate} does not divide a batch of 8"):
        jax.eval_shape(step, state, batch)


@pytest.mark.parametrize("accumulate", [0, -1, 1.5, True])
def test_a_number_of_parts_below_one_is_refused(model, accumulate):
    with pytest.raises(TrainError, match="accumulate is the number of parts of a batch, at least 1"):
        train.make_train_step(model, optim.sgd(0.05), accumulate=accumulate)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_norm": "per_device"}, 'batch_norm is "global" or "per-device"'),
        ({"ema": 2.0}, "ema is from 0 to 1, not 2.0"),
        ({"ema": float("nan")}, "ema is from 0 to 1, not nan"),
        ({"label_smoothing": 1.5}, "label_smoothing is from 0 to 1, not 1.5"),
        ({"steps_per_epoch": 0}, "steps_per_epoch is at least 1, or None, not 0"),
    ],
)
def test_options_that_cannot_be_are_refused_when_the_step_is_made(model, options, message):
    with pytest.raises(TrainError, match=message):
        train.make_train_step(model, optim.sgd(0.1), **options)


def test_a_state_can_be_made_inside_of_another_program(model):
    tx, key = optim.sgd(0.1), jax.random.key(0)
    shapes = jax.eval_shape(lambda: train.create_state(model, tx, key, (16, 16, 3)))
    inside = jax.jit(lambda: train.create_state(model, tx, key, (16, 16, 3)))()
    outside = train.create_state(model, tx, key, (16, 16, 3))
    assert jax.tree.map(jnp.shape, shapes.params) == jax.tree.map(jnp.shape, outside.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), inside.params, outside.params)


def test_several_warm_ups_show_the_one_that_is_furthest_from_its_end(model, batch):
    parts = {"head": optim.warm_up_by_error(0.99), "rest": optim.warm_up_by_error(0.0001)}
    tx = optax.partition(
        {name: optax.chain(part, optax.sgd(0.1)) for name, part in parts.items()},
        lambda params: {name: "head" if name == "head" else "rest" for name in params},
    )
    state = train.create_state(model, tx, jax.random.key(0), (16, 16, 3))
    step = jax.jit(train.make_train_step(model, tx, make_augment(MEAN, STD, crop_padding=0, flip=False)))
    for _ in range(3):
        state, metrics = step(state, batch)
    assert float(metrics["learning_rate_scale"]) == pytest.approx(0.1)
