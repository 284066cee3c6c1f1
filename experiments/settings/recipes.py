"""Recipes: named settings, each with what it gives and where it comes from. Any flag overrides a field."""

import dataclasses
import fnmatch
import textwrap
from collections.abc import Mapping
from typing import NamedTuple

from experiments.program.errors import ConfigError
from experiments.settings.config import Config, DataConfig, ModelConfig, OptimConfig, RunConfig
from experiments.settings.datasets import STREAMED_DATASETS
from jax_resnet._text import did_you_mean

__all__ = ["RECIPES", "Recipe", "choose", "descriptions", "example_recipe", "summaries"]

# The small digits of --dataset digits serve to try any recipe.
DIGITS = "digits"
CIFAR = ("cifar10", "cifar100", DIGITS)
MNIST = ("mnist", DIGITS)


class Recipe(NamedTuple):
    """Named settings.

    Attributes:
        summary: One line for ``--help``.
        about: What it gives and where it comes from, for ``--recipe list``.
        config: The settings.
        datasets: Names of the data sets that it is for.
        for_archs: Other settings for networks whose names match a shell pattern.
    """

    summary: str
    about: str
    config: Config
    datasets: tuple[str, ...] = CIFAR
    for_archs: Mapping[str, Config] = {}


QUICK = Config(
    recipe="quick",
    model=ModelConfig(dtype="auto"),
    data=DataConfig(crop_padding=2, padding="reflect", alternate_flips=True, small_size=24),
    optim=OptimConfig(
        epochs=9, learning_rate=0.4, schedule="one-cycle", peak_at=0.25, nesterov=True, label_smoothing=0.1
    ),
    run=RunConfig(log_every=20),
)

PAPER = OptimConfig(steps=64_000, schedule="step", milestones=(0.5, 0.75), factor=0.1, weight_decay=1e-4)
PAPER_WITH_WARMUP = dataclasses.replace(PAPER, warmup_error=0.8)

TEST_EVERY_EPOCH = (
    "The test set is evaluated after every epoch for its curve; 5,000 held-out training images choose the "
    "checkpoint"
)
SEMINAR = OptimConfig(epochs=51, schedule="constant", weight_decay=1e-4)

VAL_IS_TEST = "Its public validation set serves as the test set: evaluated every epoch, it chooses nothing."
IMAGENET_FORM = ModelConfig(arch="resnet50", stem="imagenet", zero_init_residual=True)
STREAM = DataConfig(dataset="imagenet2012", val_size=0, crop_padding=0)
GOYAL = OptimConfig(
    batch_size=256,
    epochs=90,
    schedule="step",
    milestones=(30 / 90, 60 / 90, 80 / 90),
    warmup=5 / 90,
    nesterov=True,
    weight_decay=1e-4,
    decay_all=False,
)
IMAGENET_RUN = RunConfig(log_every=100, eval_batch_size=256, test_every=1)

RECIPES: dict[str, Recipe] = {
    "standard": Recipe(
        "200 epochs, cosine: the usual setting of PyTorch code for CIFAR",
        "200 epochs of batch 128, SGD with momentum 0.9, cosine from 0.1 after a warm-up of 2.5%, weight "
        "decay 5e-4. pytorch-cifar, which has no warm-up, reports 93.02% for resnet18 and 95.11% for "
        "preact_resnet18 on CIFAR-10.",
        # Without a warm-up rounding grows tenfold per step: no two machines, and no two ways of splitting a
        # batch over devices, would show the same losses even at the beginning.
        Config(recipe="standard", optim=OptimConfig(warmup=5 / 200)),
    ),
    "paper": Recipe(
        "64,000 steps as in He et al. 2015, section 4.2",
        "64,000 steps of batch 128, 0.1 divided by 10 at 32,000 and 48,000, weight decay 1e-4, 45,000 images "
        "to train on and 5,000 to choose by. Networks of 110 and of 1202 layers start at 0.01 until the "
        "training error is below 80%. The paper subtracts the mean of every pixel, so that the padding is "
        "that mean: --center per-pixel --padding mean. Without these flags pixels are normalized per channel "
        "and padded black. The paper's test "
        "accuracies on CIFAR-10: resnet20 91.25%, resnet56 93.03%, resnet110 93.57%.",
        Config(recipe="paper", optim=PAPER),
        for_archs=dict.fromkeys(("*110", "*1202"), Config(recipe="paper", optim=PAPER_WITH_WARMUP)),
    ),
    "quick": Recipe(
        "resnet20 in about four minutes on two CPU cores, for trying things out",
        "9 epochs of batch 128, one-cycle to 0.4 with Nesterov momentum, weight decay 5e-4, label smoothing "
        "0.1, crops padded by 2 reflected pixels, every image mirrored in every other epoch (Jordan 2024), "
        "bfloat16 where the machine is faster in it. In the first half of the steps images are resized to "
        "24x24, which makes a step shorter; not for vgg* and mnist_*, which need all pixels. "
        "resnet20 gets 87.6% on CIFAR-10 (three seeds).",
        QUICK,
        # VGG's five poolings need 32 pixels, and the linear layers of mnist_* images of one size.
        for_archs=dict.fromkeys(
            ("vgg*", "mnist_*"),
            dataclasses.replace(QUICK, data=dataclasses.replace(QUICK.data, small_size=0)),
        ),
    ),
    "fast": Recipe(
        "resnet20 beyond the paper's accuracy in a third of its steps",
        "60 epochs of batch 128 (21,060 steps; the paper's 64,000 are 182), cosine from 0.1 after a warm-up "
        "of 2.5%, Nesterov momentum, weight decay 5e-4, crops padded by 4 reflected pixels, every image "
        "mirrored in every other epoch, bfloat16 where the machine is faster in it. Validated every other "
        "epoch.",
        Config(
            recipe="fast",
            model=ModelConfig(dtype="auto"),
            data=DataConfig(padding="reflect", alternate_flips=True),
            optim=OptimConfig(epochs=60, warmup=5 / 200, nesterov=True),
            run=RunConfig(eval_every=2),
        ),
    ),
    "speedrun": Recipe(
        "airbench95 to 94% in less than 25 minutes on two CPU cores",
        "11 epochs of batch 1,000 on all 50,000 images, the last checkpoint; in the first half of the steps "
        "images are resized to 24x24. Of Jordan 2024: a first layer "
        "that whitens patches and is kept, BatchNorm without scales, convolutions that start as the identity "
        "and are trained by Muon from 0.24 linearly to 0, rates and weight decay of airbench94_muon for the "
        "head and for biases, label smoothing 0.2, crops padded by 2 reflected pixels, every image mirrored "
        "in every other epoch; bfloat16 where the machine is faster in it. "
        "airbench95 gets 94.2% on CIFAR-10 (three seeds); airbench94 is a narrower network of this form, "
        "whitened_resnet8 one with shortcuts.",
        Config(
            recipe="speedrun",
            model=ModelConfig(arch="airbench95", dtype="auto", whiten=True, norm_momentum=0.6),
            data=DataConfig(
                val_size=0, crop_padding=2, padding="reflect", alternate_flips=True, small_size=24
            ),
            optim=OptimConfig(
                optimizer="muon",
                batch_size=1000,
                epochs=11,
                learning_rate=0.24,
                # airbench94_muon's, for its batches of 2,000 and momentum 0.85 and a loss summed over the
                # batch, turned into those of batches of 1,000, momentum 0.6 and a mean.
                rates=("head=0.114", "bias=590"),
                decays=("head=0.196", "bias=3.77e-5"),
                freeze=("scale", "stem_conv/kernel"),
                schedule="linear",
                momentum=0.6,
                nesterov=True,
                weight_decay=0.0,
                label_smoothing=0.2,
            ),
            run=RunConfig(log_every=10, eval_every=4),
        ),
    ),
    "tutorial-000": Recipe(
        "resnet18 on CIFAR-10 as in a tutorial: 200 epochs, steps at 100 and 150",
        "resnet18, 200 epochs (the tutorial's text ran 20: --epochs 20 shortens the schedule too), 0.1 "
        "divided by 10 at epochs 100 and 150, weight decay 2e-4, pixels in [0, 1] without normalization, "
        f"evaluation in batches of 100. Unlike the tutorial: {TEST_EVERY_EPOCH} (--val-size 0 trains on all "
        "50,000 and keeps the last).",
        Config(
            recipe="tutorial-000",
            model=ModelConfig(arch="resnet18"),
            data=DataConfig(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
            optim=OptimConfig(schedule="step", milestones=(0.5, 0.75), weight_decay=2e-4),
            run=RunConfig(eval_batch_size=100, test_every=1),
        ),
    ),
    "tutorial-001": Recipe(
        "resnet14 with projections as in a tutorial: 300 epochs, steps every 50",
        "resnet14 with projection shortcuts, 300 epochs, 0.1 divided by 10 every 50, weight decay 5e-4, "
        "crops padded by 1, pixels in [-1, 1], one line of test loss and accuracy per epoch. Unlike the "
        f"tutorial: {TEST_EVERY_EPOCH} (--val-size 0 trains on all and keeps the last).",
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
        "seminar_resnet without augmentation as in a tutorial: shows overfitting",
        "seminar_resnet, 51 epochs at 0.1, weight decay 1e-4, no augmentation, to show overfitting. "
        f"{TEST_EVERY_EPOCH}.",
        Config(
            recipe="tutorial-002",
            model=ModelConfig(arch="seminar_resnet"),
            data=DataConfig(crop_padding=0, flip=False),
            optim=SEMINAR,
            run=RunConfig(test_every=1),
        ),
    ),
    "tutorial-002-augmented": Recipe(
        "tutorial-002 with random crops and flips",
        "tutorial-002 with random crops and flips, to show what they do about overfitting.",
        Config(
            recipe="tutorial-002-augmented",
            model=ModelConfig(arch="seminar_resnet"),
            optim=SEMINAR,
            run=RunConfig(test_every=1),
        ),
    ),
    "tutorial-004": Recipe(
        "ResNet and ResNeXt, 100 epochs: the settings of Xie et al. 2017, a third as long",
        "100 epochs for ResNets and ResNeXts alike, 0.1 divided by 10 at half and three quarters, weight "
        "decay 5e-4 (CIFAR settings of Xie et al. 2017, section 5.3, a third as long).",
        Config(
            recipe="tutorial-004",
            model=ModelConfig(arch="resnext50_32x4d"),
            optim=OptimConfig(epochs=100, schedule="step", milestones=(0.5, 0.75), weight_decay=5e-4),
        ),
    ),
    "mnist": Recipe(
        "any network on MNIST: 10 epochs, cosine",
        "10 epochs of batch 64, cosine from 0.02 after a warm-up of 5%, without which mnist_preact_resnet "
        "diverges, weight decay 5e-4, crops padded by 2, no flips.",
        Config(
            recipe="mnist",
            model=ModelConfig(arch="mnist_cnn"),
            data=DataConfig(dataset="mnist", crop_padding=2, flip=False),
            optim=OptimConfig(batch_size=64, epochs=10, learning_rate=0.02, warmup=0.05),
        ),
        datasets=MNIST,
    ),
    "tutorial-003": Recipe(
        "mnist_preact_resnet or vgg16 on MNIST as in a tutorial: Adam, 10 epochs",
        "mnist_preact_resnet, or --arch vgg16 on digits padded to 32x32: Adam, batch 32, 10 epochs, no "
        "augmentation. Unlike the tutorial the rate falls from 0.001 as a cosine, which gave 99.35% in 4 "
        "epochs; a constant one (--schedule constant) stayed below 98.9% for 9. "
        f"{TEST_EVERY_EPOCH}.",
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
        "ImageNet, 90 epochs: Goyal et al. 2017",
        "90 epochs of batch 256, 0.1 divided by 10 at 30, 60 and 80 after 5 epochs of warm-up, Nesterov "
        "momentum, weight decay 1e-4 but not on BatchNorm and biases, zero-initialized residual branches "
        "(Goyal et al. 2017, table 1: resnet50's top-1 error is 23.60% with batches of 256 and no warm-up, "
        f"23.74% with 8,192 and this warm-up). Trains on all images and reports the last epoch. "
        f"{VAL_IS_TEST}",
        Config(recipe="imagenet", model=IMAGENET_FORM, data=STREAM, optim=GOYAL, run=IMAGENET_RUN),
        datasets=STREAMED_DATASETS,
    ),
    "tutorial-004-imagenet": Recipe(
        "ResNet and ResNeXt on ImageNet, 100 epochs",
        "The 100 epochs of tutorial-004 on large images: batch 256, 0.1 divided by 10 at 30, 60 and 90, "
        f"weight decay 1e-4 (after Xie et al. 2017, section 5.1). {VAL_IS_TEST}",
        Config(
            recipe="tutorial-004-imagenet",
            model=ModelConfig(arch="resnext50_32x4d", stem="imagenet"),
            data=STREAM,
            optim=OptimConfig(
                batch_size=256, epochs=100, schedule="step", milestones=(0.3, 0.6, 0.9), weight_decay=1e-4
            ),
            run=IMAGENET_RUN,
        ),
        datasets=STREAMED_DATASETS,
    ),
    "imagenet-cosine": Recipe(
        "ImageNet, 90 epochs, cosine and label smoothing: He et al. 2018",
        "The recipe imagenet with a cosine schedule and label smoothing 0.1 (He et al. 2018, section 5).",
        Config(
            recipe="imagenet-cosine",
            model=IMAGENET_FORM,
            data=STREAM,
            optim=dataclasses.replace(GOYAL, schedule="cosine", label_smoothing=0.1),
            run=IMAGENET_RUN,
        ),
        datasets=STREAMED_DATASETS,
    ),
}
# By data set; "standard" for the others.
DEFAULTS = {"mnist": "mnist", "folder": "imagenet", "imagenet2012": "imagenet"}


def recipes_for(dataset: str) -> dict[str, Recipe]:
    """The recipes made for a data set, by name."""
    return {name: recipe for name, recipe in RECIPES.items() if dataset in recipe.datasets} or RECIPES


def example_recipe(dataset: str) -> str:
    """The recipe that ``--help`` shows for a data set: the quickest, where it is for it."""
    return "quick" if dataset in RECIPES["quick"].datasets else _default(dataset)


def _default(dataset: str) -> str:
    return DEFAULTS.get(dataset, "standard")


def choose(dataset: str, name: str | None, arch: str | None) -> Config:
    """The settings of a recipe.

    Args:
        dataset: Name of the data set.
        name: Name of the recipe; None for the data set's default.
        arch: Name of the network, where it is known already.

    Raises:
        ConfigError: There is no such recipe, or it is for other data sets.
    """
    suited = recipes_for(dataset)
    name = name or _default(dataset)
    if name in RECIPES and name not in suited:
        made_for = " and ".join(kind for kind in RECIPES[name].datasets if kind != DIGITS)
        raise ConfigError(f"--recipe {name} is for {made_for}, not {dataset}, which has {', '.join(suited)}")
    if name not in suited:
        hint = did_you_mean(name, suited, 1) or f"there are {', '.join(suited)}"
        raise ConfigError(f"--recipe {name} is none of the recipes; {hint}")
    config = suited[name].config
    for pattern, other in suited[name].for_archs.items():
        if fnmatch.fnmatch(arch or config.model.arch, pattern):
            config = other
    return config


def summaries(dataset: str) -> str:
    """One line per recipe, for ``--help``."""
    suited = recipes_for(dataset)
    width = max(map(len, suited))
    return "\n".join(f"  {name:<{width}}  {recipe.summary}" for name, recipe in suited.items())


def descriptions(dataset: str, width: int = 100) -> str:
    """Every recipe in full, for ``--recipe list``."""
    return "\n\n".join(
        f"{name}\n" + textwrap.indent(textwrap.fill(recipe.about, width - 4), "    ")
        for name, recipe in recipes_for(dataset).items()
    )
