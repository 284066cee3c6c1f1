"""Recipes: named settings, each with what it gives and where it comes from. Any flag overrides a field."""

import dataclasses
import difflib
import fnmatch
from collections.abc import Mapping
from typing import NamedTuple

from experiments.program.errors import ConfigError
from experiments.settings.config import Config, DataConfig, ModelConfig, OptimConfig, RunConfig

# The small digits of --dataset digits serve to try any recipe.
CIFAR = ("cifar10", "cifar100", "digits")
MNIST = ("mnist", "digits")
STREAMED = ("folder", "imagenet2012")


class Recipe(NamedTuple):
    """Settings and their story.

    Attributes:
        about: What it gives, and where it comes from, in a line.
        config: The settings.
        datasets: For which it was made.
        for_archs: Other optimizer settings for networks whose names match a shell pattern.
    """

    about: str
    config: Config
    datasets: tuple[str, ...] = CIFAR
    for_archs: Mapping[str, OptimConfig] = {}


PAPER = OptimConfig(steps=64_000, schedule="step", milestones=(0.5, 0.75), factor=0.1, weight_decay=1e-4)
WARMED_UP = dataclasses.replace(PAPER, warmup_error=0.8)

WATCHED = "the test set is watched after every epoch, and 5,000 training images are held out to choose by"
SEMINAR = OptimConfig(epochs=51, schedule="constant", weight_decay=1e-4)

VAL_IS_TEST = "its public validation set is the test set, watched every epoch and choosing nothing"
IMAGENET_FORM = ModelConfig(arch="resnet50", stem="imagenet", zero_init_residual=True)
STREAM = DataConfig(dataset="imagenet2012", val_size=0, crop_padding=0)
GOYAL = OptimConfig(
    batch_size=256,
    epochs=90,
    schedule="step",
    milestones=(30 / 90, 60 / 90, 80 / 90),
    warmup_epochs=5,
    nesterov=True,
    weight_decay=1e-4,
    decay_all=False,
)
RARELY = RunConfig(log_every=100, eval_batch_size=256, test_every=1)

RECIPES: dict[str, Recipe] = {
    "standard": Recipe(
        "200 epochs, cosine after 5 of warm-up, weight decay 5e-4: resnet18 gets to about 95% on CIFAR-10 "
        "(the setting of pytorch-cifar, which has no warm-up)",
        # At the full rate at once, rounding grows tenfold a step: no two machines, and no two ways of
        # sharing out a batch, would show the same losses even at the beginning.
        Config(recipe="standard", optim=OptimConfig(warmup_epochs=5)),
    ),
    "paper": Recipe(
        "64,000 steps of batch 128, 0.1 divided by 10 at 32,000 and 48,000, weight decay 1e-4, 45,000/5,000 "
        "images; 110 layers and more warm up at 0.01 until the training error is below 80% (He et al. 2015, "
        "section 4.2: on CIFAR-10 resnet20 91.25%, resnet56 93.03%, resnet110 93.57%)",
        Config(recipe="paper", optim=PAPER),
        for_archs={"*110": WARMED_UP, "*1202": WARMED_UP},
    ),
    "quick": Recipe(
        "900 steps of 64, a few minutes on two CPU cores: resnet20 gets to about 68% on CIFAR-10, for trying "
        "things out",
        Config(
            recipe="quick",
            # So short a training sees each image about once: crops would only make it harder.
            data=DataConfig(crop_padding=0),
            optim=OptimConfig(batch_size=64, steps=900, schedule="one-cycle", peak_at=0.25),
            run=RunConfig(log_every=20),
        ),
    ),
    "tutorial-000": Recipe(
        "resnet18 as a tutorial has it: 200 epochs (its text ran 20: --epochs 20 shortens the schedule too), "
        "0.1 divided by 10 at epochs 100 and 150, weight decay 2e-4, pixels in [0, 1] without normalization, "
        f"evaluated in batches of 100, a checkpoint after every test; unlike there {WATCHED} (--val-size 0 "
        "trains on all 50,000 and keeps the last)",
        Config(
            recipe="tutorial-000",
            model=ModelConfig(arch="resnet18"),
            data=DataConfig(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
            optim=OptimConfig(schedule="step", milestones=(0.5, 0.75), weight_decay=2e-4),
            run=RunConfig(eval_batch_size=100, test_every=1),
        ),
    ),
    "tutorial-001": Recipe(
        "resnet14 with projections as a tutorial has it: 300 epochs, 0.1 divided by 10 every 50, weight "
        "decay 5e-4, crops padded by 1, pixels in [-1, 1], a line [epoch] Test Loss, Accuracy an epoch; "
        f"unlike there {WATCHED} (--val-size 0 trains on all and keeps the last)",
        Config(
            recipe="tutorial-001",
            model=ModelConfig(arch="resnet14", shortcut="B"),
            data=DataConfig(crop_padding=1, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
            optim=OptimConfig(
                epochs=300, schedule="step", milestones=tuple(k / 6 for k in range(1, 6)), weight_decay=5e-4
            ),
            run=RunConfig(test_every=1),
        ),
    ),
    "tutorial-002": Recipe(
        "seminar_resnet as a seminar has it, to see overfitting: 51 epochs at 0.1, weight decay 1e-4, no "
        f"augmentation; {WATCHED}",
        Config(
            recipe="tutorial-002",
            model=ModelConfig(arch="seminar_resnet"),
            data=DataConfig(crop_padding=0, flip=False),
            optim=SEMINAR,
            run=RunConfig(test_every=1),
        ),
    ),
    "tutorial-002-augmented": Recipe(
        "the same with random crops and flips, to see what they do about it",
        Config(
            recipe="tutorial-002-augmented",
            model=ModelConfig(arch="seminar_resnet"),
            optim=SEMINAR,
            run=RunConfig(test_every=1),
        ),
    ),
    "tutorial-004": Recipe(
        "100 epochs for ResNets and ResNeXts alike, 0.1 divided by 10 at half and three quarters, weight "
        "decay 5e-4 (CIFAR's settings of Xie et al. 2017, section 5.3, a third as long)",
        Config(
            recipe="tutorial-004",
            model=ModelConfig(arch="resnext50_32x4d"),
            optim=OptimConfig(epochs=100, schedule="step", milestones=(0.5, 0.75), weight_decay=5e-4),
        ),
    ),
    "mnist": Recipe(
        "for any network on MNIST: 10 epochs of 64, cosine from 0.02, weight decay 5e-4, crops padded by 2",
        Config(
            recipe="mnist",
            model=ModelConfig(arch="mnist_cnn"),
            data=DataConfig(dataset="mnist", crop_padding=2, flip=False),
            optim=OptimConfig(batch_size=64, epochs=10, learning_rate=0.02),
        ),
        datasets=MNIST,
    ),
    "tutorial-003": Recipe(
        "mnist_preact_resnet, or --arch vgg16 on digits padded to 32x32, as a tutorial has them: Adam, batch "
        "32, 10 epochs, no augmentation; unlike there the rate falls from 0.001 as a cosine, which gave "
        f"99.35% in 4 epochs where a constant one (--schedule constant) stayed below 98.9% for 9; {WATCHED}",
        Config(
            recipe="tutorial-003",
            model=ModelConfig(arch="mnist_preact_resnet"),
            data=DataConfig(dataset="mnist", crop_padding=0, flip=False),
            optim=OptimConfig(
                optimizer="adam",
                batch_size=32,
                epochs=10,
                learning_rate=1e-3,
                schedule="cosine",
                weight_decay=0.0,
            ),
            run=RunConfig(test_every=1),
        ),
        datasets=MNIST,
    ),
    "imagenet": Recipe(
        "90 epochs of 256, 0.1 divided by 10 at 30, 60 and 80 after a warm-up of 5, Nesterov, weight decay "
        "1e-4 but not on BatchNorm and biases, residual branches that start at zero (Goyal et al. 2017, "
        "table 1: resnet50's top-1 error on ImageNet is 23.60% with batches of 256 and no warm-up, 23.74% "
        "with 8,192 and this warm-up); trains on all images, reports the last epoch; " + VAL_IS_TEST,
        Config(recipe="imagenet", model=IMAGENET_FORM, data=STREAM, optim=GOYAL, run=RARELY),
        datasets=STREAMED,
    ),
    "tutorial-004-imagenet": Recipe(
        "the 100 epochs of tutorial-004 on large images: batch 256, 0.1 divided by 10 at 30, 60 and 90, "
        "weight decay 1e-4 (after Xie et al. 2017, section 5.1); " + VAL_IS_TEST,
        Config(
            recipe="tutorial-004-imagenet",
            model=ModelConfig(arch="resnext50_32x4d", stem="imagenet"),
            data=STREAM,
            optim=OptimConfig(
                batch_size=256, epochs=100, schedule="step", milestones=(0.3, 0.6, 0.9), weight_decay=1e-4
            ),
            run=RARELY,
        ),
        datasets=STREAMED,
    ),
    "imagenet-cosine": Recipe(
        "the same with a cosine schedule and label smoothing 0.1 (He et al. 2018, section 5)",
        Config(
            recipe="imagenet-cosine",
            model=IMAGENET_FORM,
            data=STREAM,
            optim=dataclasses.replace(GOYAL, schedule="cosine", label_smoothing=0.1),
            run=RARELY,
        ),
        datasets=STREAMED,
    ),
}
# By data set; "standard" for the others.
DEFAULTS = {"mnist": "mnist", "folder": "imagenet", "imagenet2012": "imagenet"}


def choose(dataset: str, name: str | None, arch: str | None) -> tuple[dict[str, Recipe], Config]:
    """The recipes made for a data set, and the settings of one of them.

    Args:
        dataset: Its name.
        name: The recipe's; None for the data set's default.
        arch: The network's, where it is known already.

    Raises:
        ConfigError: There is no such recipe, or it was made for other data.
    """
    suited = {key: recipe for key, recipe in RECIPES.items() if dataset in recipe.datasets} or RECIPES
    name = name or DEFAULTS.get(dataset, "standard")
    if name in RECIPES and name not in suited:
        raise ConfigError(
            f"--recipe {name} is for {' and '.join(RECIPES[name].datasets[:-1])}, not {dataset}, which has "
            f"{', '.join(suited)}"
        )
    if name not in suited:
        near = difflib.get_close_matches(name, suited, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(suited)}"
        raise ConfigError(f"--recipe {name} is none of the recipes; {hint}")
    recipe = suited[name]
    config = recipe.config
    for pattern, optimizer in recipe.for_archs.items():
        if fnmatch.fnmatch(arch or config.model.arch, pattern):
            config = dataclasses.replace(config, optim=optimizer)
    return suited, config
