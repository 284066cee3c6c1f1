"""Recipes: named settings, each with what it gives and where it comes from. Any flag overrides a field."""

from typing import NamedTuple

from experiments.config import Config, DataConfig, OptimConfig, RunConfig


class Recipe(NamedTuple):
    """Settings and their story.

    Attributes:
        about: What it gives, and where it comes from, in a line.
        config: The settings.
    """

    about: str
    config: Config


RECIPES: dict[str, Recipe] = {
    "standard": Recipe(
        "200 epochs, cosine, weight decay 5e-4: resnet18 gets to about 95% (the setting of pytorch-cifar)",
        Config(recipe="standard"),
    ),
    "paper": Recipe(
        "64,000 steps of batch 128, 0.1 divided by 10 at 32,000 and 48,000, weight decay 1e-4, 45,000/5,000 "
        "images (He et al. 2015, section 4.2: resnet20 91.25%, resnet56 93.03%)",
        Config(
            recipe="paper",
            optim=OptimConfig(
                steps=64_000, schedule="step", milestones=(0.5, 0.75), factor=0.1, weight_decay=1e-4
            ),
        ),
    ),
    "quick": Recipe(
        "900 steps of 64, a few minutes on two CPU cores: resnet20 gets to about 68%, for trying things out",
        Config(
            recipe="quick",
            # So short a training sees each image about once: crops would only make it harder.
            data=DataConfig(crop_padding=0),
            optim=OptimConfig(batch_size=64, steps=900, schedule="one-cycle", peak_at=0.25),
            run=RunConfig(log_every=20),
        ),
    ),
}
