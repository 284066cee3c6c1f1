"""Flags of the optimizer and of initialization, in small real runs."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.program.errors import ConfigError
from experiments.settings.config import OptimConfig
from experiments.settings.flags import parse
from experiments.training.build import build_experiment
from experiments.training.optimizer import make_optimizer
from jax_resnet import data, optim
from jax_resnet.data.augment import normalize
from jax_resnet.models import whitening_kernel


def experiment(small, *flags):
    config = parse("experiments.cifar10", "", [*small, *flags], "cifar10")
    config.check()
    return build_experiment(config, data.load("digits"))


def arrays(state):
    """Parameters and statistics, copied: a step donates its state."""
    return types.SimpleNamespace(
        params=jax.tree.map(np.array, state.params), batch_stats=jax.tree.map(np.array, state.batch_stats)
    )


def moved(small, *flags, steps=2):
    """The state before and after some steps."""
    run = experiment(small, *flags)
    before = arrays(run.state)
    state, batches = run.state, run.batches(0)
    for _ in range(steps):
        state, metrics = run.steps.train(state, next(batches))
    batches.close()
    return before, arrays(state), metrics


def changed(before, after):
    paths = jax.tree_util.tree_flatten_with_path(before)[0]
    new = jax.tree.leaves(after)
    return {
        "/".join(str(key.key) for key in path)
        for (path, old), value in zip(paths, new, strict=True)
        if not np.array_equal(old, value)
    }


def test_freeze_keeps_weights_and_statistics_of_a_part(small):
    before, after, _ = moved(small, "--freeze", "stem", "stage1")
    names = changed(before.params, after.params) | changed(before.batch_stats, after.batch_stats)
    assert not [name for name in names if name.startswith(("stem", "stage1"))]
    assert {"head/kernel", "stage2_block1/norm1/mean"} <= names


@pytest.mark.parametrize("arch", ["resnet8", "airbench94", "mnist_preact_resnet", "vgg11"])
def test_freeze_keeps_the_statistics_of_all_stages_that_a_pattern_names(small, arch):
    before, after, _ = moved(small, "--arch", arch, "--freeze", "stage[1-2]", "--learning-rate", "1e-3")
    names = changed(before.params, after.params) | changed(before.batch_stats, after.batch_stats)
    assert not [name for name in names if name.startswith(("stage1", "stage2"))]
    assert [name for name in names if name.startswith("stage3")]


def test_muon_takes_rates_for_kernels(small):
    """The norm of kernels is no step, which a rate would multiply."""
    flags = ("--optimizer", "muon", "--rates", "stage1=4", "--learning-rate", "0.01")
    _, after, _ = moved(small, *flags, steps=4)
    kernel = after.params["stage1_block1"]["conv1"]["kernel"]
    assert np.linalg.norm(kernel) == pytest.approx(np.sqrt(kernel.shape[-1]), rel=0.1)


@pytest.mark.parametrize("weight_decay", ["0", "0.01"])
def test_muon_refuses_decays_of_kernels(small, weight_decay):
    flags = ("--optimizer", "muon", "--weight-decay", weight_decay)
    with pytest.raises(ConfigError, match=r"^--decays conv1: muon keeps the norm of convolutions' kernels"):
        experiment(small, *flags, "--decays", "conv1=0.01")
    with pytest.raises(ConfigError, match=r"^--decays conv1: muon keeps the norm of convolutions' kernels"):
        experiment(small, *flags, "--decays", "conv1=0")
    experiment(small, *flags, "--decays", "head=0.01", "bias=0.1")


def test_rates_multiply_the_learning_rate_of_a_part(small):
    plain, fast = (moved(small, *flags, steps=1) for flags in ((), ("--rates", "head=2")))
    (before, once, _), (_, twice, _) = plain, fast
    start = before.params["head"]["kernel"]
    np.testing.assert_allclose(
        twice.params["head"]["kernel"] - start,
        2 * (once.params["head"]["kernel"] - start),
        rtol=1e-4,
        atol=1e-7,
    )
    np.testing.assert_array_equal(twice.params["stem_conv"]["kernel"], once.params["stem_conv"]["kernel"])


def test_clip_norm_bounds_the_step(small):
    before, after, metrics = moved(
        small,
        "--clip-norm",
        "0.01",
        "--weight-decay",
        "0",
        "--momentum",
        "0",
        "--schedule",
        "constant",
        steps=1,
    )
    assert float(metrics["grad_norm"]) > 0.01
    step = jax.tree.map(lambda a, b: ((a - b) ** 2).sum(), before.params, after.params)
    assert np.sqrt(sum(jax.tree.leaves(step))) == pytest.approx(0.1 * 0.01, rel=1e-2)


def test_the_speedrun_whitens_its_first_layer_and_keeps_it(small):
    flags = ("--recipe", "speedrun", "--arch", "whitened_resnet8", "--dtype", "f32", "--batch-size", "32")
    before, after, _ = moved(small, *flags)
    used = experiment(small, *flags).data
    expected = whitening_kernel(normalize(jnp.asarray(used.train.images), used.mean, used.std))
    np.testing.assert_allclose(before.params["stem_conv"]["kernel"], expected, rtol=1e-4, atol=1e-4)
    names = changed(before.params, after.params)
    assert {"stem_conv/bias", "stage1_norm1/bias", "head/kernel"} <= names
    assert not [name for name in names if name == "stem_conv/kernel" or name.endswith("scale")]


def test_whiten_needs_a_first_layer_of_that_size(small):
    with pytest.raises(ConfigError, match="--whiten needs a first convolution"):
        experiment(small, "--whiten")


@pytest.mark.parametrize("flags", [["--rates", "head"], ["--rates", "head=nan"], ["--rates", "=2"]])
def test_rates_are_names_and_factors(small, flags):
    with pytest.raises(ConfigError, match=r"--rates takes NAME=FACTOR"):
        experiment(small, *flags)


@pytest.mark.parametrize("text", ["head", "head=-1", "head=inf", "=2"])
def test_decays_are_names_and_coefficients(small, text):
    with pytest.raises(ConfigError, match=r"--decays takes NAME=DECAY"):
        experiment(small, "--decays", text)


def test_decays_are_refused_where_decay_is_not_in_the_gradient(small):
    with pytest.raises(ConfigError, match="--decays goes into the gradient"):
        experiment(small, "--optimizer", "adamw", "--decays", "head=0.1")


@pytest.mark.parametrize("more", [{}, {"decay_all": False}, {"optimizer": "adam"}, {"optimizer": "muon"}])
def test_decays_replace_the_weight_decay_of_what_they_name(more):
    params = {
        "conv": {"kernel": jnp.ones((3, 3, 2, 2)), "bias": jnp.ones(2)},
        "head": {"kernel": jnp.ones((2, 3)), "bias": jnp.full(3, 2.0)},
    }
    grads = jax.tree.map(lambda p: 0.5 * p, params)

    def update(grads, **settings):
        tx = make_optimizer(OptimConfig(**{**settings, **more}), optim.piecewise(0.1, []))
        return tx.update(grads, tx.init(params), params)[0]

    found = update(grads, weight_decay=0.25, decays=("head/kernel=0.125", "bias=0"))
    by_hand = {**grads, "head": {**grads["head"], "kernel": grads["head"]["kernel"] + 0.125}}
    expected = update(by_hand, weight_decay=0.0)
    without = update(grads, weight_decay=0.25)
    expected["conv"]["kernel"] = without["conv"]["kernel"]
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.parametrize("flags", [["--freeze", "stage9"], ["--rates", "haed=2"], ["--decays", "haed=2"]])
def test_a_name_that_matches_nothing_is_an_error(small, flags):
    with pytest.raises(ConfigError, match=f"^{flags[0]}: no parameter matches|^--arch .*frozen"):
        experiment(small, *flags)


@pytest.mark.parametrize("flags", [["--rates", "stem=2"], ["--decays", "stem_conv/kernel=0.1"]])
def test_what_is_frozen_has_no_rate_and_no_decay(small, flags):
    with pytest.raises(ConfigError, match=f"^{flags[0]} stem.*: --freeze keeps these parameters"):
        experiment(small, "--freeze", "stem", *flags)
    experiment(small, "--freeze", "stem", "--rates", "kernel=2")  # others have the name, too


def test_small_images_come_first_and_are_the_same_images(small):
    flags = ("--small-size", "16", "--small-part", "0.25", "--steps", "8", "--no-flip", "--crop-padding", "0")
    run = experiment(small, *flags)
    assert run.steps.at(1) is run.steps.small
    assert run.steps.at(2) is run.steps
    batches = run.batches(0)
    batch = next(batches)
    batches.close()
    _, metrics = run.steps.at(0).train(run.state, batch)
    images = normalize(jnp.asarray(batch["image"]), run.data.mean, run.data.std)
    images = jax.image.resize(images, (len(images), 16, 16, 3), "bilinear")
    logits, _ = run.model.apply(
        experiment(small).state.variables, images, train=True, mutable=["batch_stats"]
    )
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
    assert float(metrics["loss"]) == pytest.approx(float(losses.sum()), rel=1e-4)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--small-size", "32"], "--small-size 32 is not smaller than digits's images, 32x32"),
        (["--small-size", "8", "--arch", "airbench94"], "--small-size 8 is too small for airbench94: "),
    ],
)
def test_sizes_that_small_images_cannot_have(small, flags, message):
    with pytest.raises(ConfigError, match=message):
        experiment(small, *flags)


def test_something_is_left_to_train(small):
    with pytest.raises(ConfigError, match=r"--freeze \* leaves nothing to train"):
        experiment(small, "--freeze", "*")


def test_without_rollback_the_optimizers_state_is_as_it_always_was():
    schedule = optim.piecewise(0.1, [])
    params = {"kernel": jnp.ones((2, 3))}
    usual = optim.sgd(schedule, momentum=0.9, nesterov=False, weight_decay=5e-4).init(params)
    assert jax.tree.structure(make_optimizer(OptimConfig(), schedule).init(params)) == jax.tree.structure(
        usual
    )
    rolling = make_optimizer(OptimConfig(on_nan="rollback"), schedule).init(params)
    assert optim.rate_factor(rolling) == 1
    assert len(jax.tree.leaves(rolling)) == len(jax.tree.leaves(usual)) + 1
