"""The tutorials' recipes are what the tutorials say."""

import dataclasses

import jax
import numpy as np
import pytest

from experiments.program.errors import ConfigError
from experiments.settings.flags import parse
from experiments.settings.recipes import RECIPES, choose
from experiments.training.optimizer import make_schedule


def config(*flags, dataset="cifar10"):
    return parse("experiments.program", "about", flags, dataset)


def rates(config, per_epoch, epochs):
    """The learning rate in the first step of each epoch, and in the last step before it."""
    schedule = jax.vmap(make_schedule(config.optim, epochs * per_epoch, per_epoch))
    first = schedule(np.arange(epochs) * per_epoch).tolist()
    last = schedule(np.arange(1, epochs) * per_epoch - 1).tolist()
    return dict(enumerate(first)), dict(enumerate(last, 1))


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("per_epoch", [351, 390])
def test_every_recipe_can_be_run_as_it_is(name, per_epoch):
    found = RECIPES[name].config
    found.check()
    assert found.recipe == name
    assert found.workdir.name.endswith(f"{name}-seed0")
    assert float(make_schedule(found.optim, 1000, per_epoch)(np.int32(0))) > 0


def test_tutorial_000():
    found = config("--recipe", "tutorial-000")
    assert found.model.arch == "resnet18"
    assert (found.optim.batch_size, found.run.eval_batch_size, found.optim.epochs) == (128, 100, 200)
    assert (found.optim.optimizer, found.optim.momentum, found.optim.weight_decay) == ("sgd", 0.9, 2e-4)
    assert (found.data.crop_padding, found.data.flip) == (4, True)
    assert (found.data.mean, found.data.std) == ((0, 0, 0), (1, 1, 1))
    assert found.optim.decay_all
    first, last = rates(found, 390, 200)
    assert [first[e] for e in (0, 99, 100, 149, 150, 199)] == pytest.approx(
        [0.1, 0.1, 0.01, 0.01, 1e-3, 1e-3]
    )
    assert [last[e] for e in (100, 150)] == pytest.approx([0.1, 0.01])


def test_tutorial_001():
    found = config("--arch", "resnet14", "--recipe", "tutorial-001")
    assert (found.model.shortcut, found.data.crop_padding, found.data.flip) == ("B", 1, True)
    assert (found.data.mean, found.data.std) == ((0.5,) * 3, (0.5,) * 3)
    assert (found.optim.weight_decay, found.optim.epochs, found.run.test_every) == (5e-4, 300, 1)
    for per_epoch in (351, 390, 391):
        first, last = rates(found, per_epoch, 300)
        assert first == pytest.approx({e: 0.1 * 0.1 ** (e // 50) for e in range(300)}, rel=1e-5)
        assert last == pytest.approx({e: 0.1 * 0.1 ** ((e - 1) // 50) for e in range(1, 300)}, rel=1e-5)


def test_tutorial_002_without_and_with_augmentation():
    without = config("--recipe", "tutorial-002")
    with_it = config("--recipe", "tutorial-002-augmented")
    assert without.model.arch == with_it.model.arch == "seminar_resnet"
    assert (without.data.crop_padding, without.data.flip) == (0, False)
    assert (with_it.data.crop_padding, with_it.data.flip) == (4, True)
    assert without.optim == with_it.optim
    assert (without.optim.learning_rate, without.optim.weight_decay, without.optim.epochs) == (0.1, 1e-4, 51)
    first, _ = rates(without, 351, 51)
    assert set(first.values()) == {np.float32(0.1)}


def test_tutorial_003():
    for flags, arch in ((), "mnist_preact_resnet"), (("--arch", "vgg16"), "vgg16"):
        found = config(*flags, "--recipe", "tutorial-003", dataset="mnist")
        assert (found.model.arch, found.data.dataset) == (arch, "mnist")
        assert (found.optim.optimizer, found.optim.batch_size, found.optim.epochs) == ("adam", 32, 10)


@pytest.mark.parametrize(
    ("arch", "error"), [("resnet56", 0.0), ("resnet110", 0.8), ("plain110", 0.8), ("resnet1202", 0.8)]
)
def test_the_papers_deepest_networks_warm_up(arch, error):
    found = config("--arch", arch, "--recipe", "paper", dataset="cifar100")
    assert (found.optim.warmup_error, found.data.dataset) == (error, "cifar100")
    assert dataclasses.replace(found.optim, warmup_error=0.0) == RECIPES["paper"].config.optim
    assert config("--arch", arch, "--recipe", "paper", "--warmup-error", "0").optim.warmup_error == 0


@pytest.mark.parametrize(
    ("arch", "size"), [("resnet20", 24), ("airbench94", 24), ("vgg16", 0), ("mnist_cnn", 0)]
)
def test_quick_starts_with_small_images_where_the_network_takes_them(arch, size):
    assert config("--arch", arch, "--recipe", "quick").data.small_size == size
    assert config("--arch", arch, "--recipe", "quick", "--small-size", "28").data.small_size == 28


def test_a_recipe_is_for_its_data():
    with pytest.raises(ConfigError, match="--recipe paper is for cifar10 and cifar100, not mnist"):
        config("--recipe", "paper", dataset="mnist")
    with pytest.raises(ConfigError, match="--recipe tutorial-003 is for mnist, not cifar10"):
        config("--recipe", "tutorial-003")
    with pytest.raises(ConfigError, match="did you mean tutorial-002-augmented"):
        config("--recipe", "tutorial-002-augmentd")
    with pytest.raises(ConfigError, match="--dataset"):
        config("--dataset", "cifar11")
    assert config(dataset="mnist").recipe == config("--dataset", "mnist").recipe == "mnist"


@pytest.mark.parametrize("dataset", ["folder", "imagenet2012"])
def test_imagenet(dataset):
    found = choose(dataset, None, None)
    assert found.recipe == "imagenet"
    assert (found.model.arch, found.model.stem) == ("resnet50", "imagenet")
    assert (found.optim.batch_size, found.optim.epochs, found.optim.weight_decay) == (256, 90, 1e-4)
    assert (found.data.image_size, found.data.val_size) == (224, 0)
    first, last = rates(found, 10, 90)
    assert [first[e] for e in (5, 29, 30, 59, 60, 79, 80, 89)] == pytest.approx(
        [0.1, 0.1, 0.01, 0.01, 1e-3, 1e-3, 1e-4, 1e-4]
    )
    assert [last[e] for e in (30, 60, 80)] == pytest.approx([0.1, 0.01, 1e-3])
    assert 0 < first[0] < first[1] < first[4] < 0.1
    cosine = choose(dataset, "imagenet-cosine", None)
    assert cosine.optim.label_smoothing == 0.1
    assert rates(cosine, 10, 90)[0][45] == pytest.approx(0.05, rel=1e-4)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("length", [{"epochs": 3, "steps": None}, {"steps": 240}])
def test_a_shorter_training_has_a_shorter_warm_up(name, length):
    optim = dataclasses.replace(RECIPES[name].config.optim, **length)
    steps = optim.steps or 3 * 80
    schedule = make_schedule(optim, steps, 80)
    rates = [float(schedule(step)) for step in range(steps)]
    peak = optim.learning_rate * (optim.batch_size / 256 if optim.scale_learning_rate else 1)
    assert max(rates) >= 0.95 * peak
    assert rates.index(max(rates)) <= 0.35 * steps
