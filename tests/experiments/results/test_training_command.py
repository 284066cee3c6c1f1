"""Commands made from settings give the settings again."""

import dataclasses
import json
import shlex

import pytest

from experiments.report.settings import compared_settings, read_settings
from experiments.results.published import read_published
from experiments.results.training_command import training_command
from experiments.settings.flags import parse
from experiments.settings.recipes import RECIPES

DEFAULT_DATASET = {"experiments.imagenet": "folder"}


def settings_of(command):
    words = shlex.split(command)
    assert words[:2] == ["python", "-m"]
    dataset = DEFAULT_DATASET.get(words[2], words[2].removeprefix("experiments."))
    config = parse(words[2], "", words[3:], dataset)
    return config, read_settings(json.loads(json.dumps(dataclasses.asdict(config))))[0]


CASES = [
    "python -m experiments.cifar10 --recipe paper --arch plain56 --steps 8000",
    "python -m experiments.cifar10 --recipe quick --epochs 200",
    "python -m experiments.cifar10 --recipe quick --padding black --no-alternate-flips",
    "python -m experiments.cifar10 --recipe standard --optimizer adam --learning-rate 1.5e-4 --beta2 0.98",
    "python -m experiments.cifar10 --schedule step --milestones 0.3333333333333333 0.9 --nesterov",
    "python -m experiments.cifar10 --val-size 0 --no-flip --crop-padding 0 --warmup-epochs 2",
    "python -m experiments.cifar10 --mean 0.5 0.5 0.5 --std 0.25 0.25 0.25 --shortcut B",
    "python -m experiments.cifar10 --dataset digits --arch resnet8",
    "python -m experiments.imagenet --data-dir flowers --image-size 64",
    "python -m experiments.cifar10 --arch resnet110 --recipe paper",
    "python -m experiments.cifar10 --recipe fast --warmup-epochs 0",
    *(
        f"python -m experiments.cifar10 --recipe {name}"
        for name in RECIPES
        if "cifar10" in RECIPES[name].datasets
    ),
    *(
        f"python -m experiments.mnist --recipe {name}"
        for name in RECIPES
        if "mnist" in RECIPES[name].datasets
    ),
]


@pytest.mark.parametrize("typed", CASES)
def test_the_command_gives_the_settings_again(typed):
    _, settings = settings_of(typed)
    command = training_command(settings)
    assert compared_settings(settings_of(command)[1]) == compared_settings(settings)


@pytest.mark.parametrize(
    ("typed", "made"),
    [
        (CASES[0], "python -m experiments.cifar10 --arch plain56 --recipe paper --steps 8000"),
        (CASES[1], "python -m experiments.cifar10 --arch resnet20 --recipe quick --epochs 200"),
        (CASES[7], "python -m experiments.cifar10 --dataset digits --arch resnet8 --recipe standard"),
    ],
)
def test_only_what_differs_from_the_recipe_is_shown(typed, made):
    assert training_command(settings_of(typed)[1]) == made


def test_values_that_the_recipe_has_and_the_run_had_not_are_none():
    settings = {**settings_of("python -m experiments.cifar10 --recipe speedrun")[1], "decays": ()}
    assert training_command(settings).endswith("--recipe speedrun --decays none")


def test_what_auto_chose_is_not_shown():
    settings = {**settings_of("python -m experiments.cifar10 --recipe quick")[1], "dtype": "bf16"}
    assert "dtype" not in training_command(settings)
    for typed in (["--dtype", "bf16"], ["--recipe=quick", "--dtype=bf16"]):
        assert training_command(settings, typed=typed).endswith("--recipe quick --dtype bf16")


@pytest.mark.parametrize(
    ("seeds", "end"),
    [([0], ""), ([3], " --seed 3"), ([1, 0, 2], " --seeds 3"), ([4, 5], " --seed 4 --seeds 2")],
)
def test_seeds_that_follow_each_other_are_one_command(seeds, end):
    settings = settings_of("python -m experiments.cifar10")[1]
    expected = f"python -m experiments.cifar10 --arch resnet20 --recipe standard{end}"
    assert training_command(settings, seeds) == expected


def test_a_recipe_that_is_gone_is_named_with_all_that_differs_from_the_default():
    settings = {**settings_of(CASES[1])[1], "recipe": "gone"}
    command = training_command(settings)
    assert "--recipe gone" in command
    assert "--schedule one-cycle" in command


@pytest.mark.parametrize("network", read_published(), ids=lambda network: network.arch)
def test_commands_of_published_networks_are_valid(network):
    config, settings = settings_of(network.command)
    config.check_without_jax()
    assert settings["arch"] == network.arch
    for number in (network.paper, network.pytorch):
        assert number is None or 90 < number.accuracy < 97
