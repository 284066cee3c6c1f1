"""The command that gives some settings, and nothing of the machine they were used on."""

from typing import Any

import pytest

from experiments.settings.command import command_of
from experiments.settings.flags import parse


@pytest.mark.parametrize(
    ("dataset", "flags", "command"),
    [
        ("cifar10", "", "cifar10 --arch resnet20 --recipe standard"),
        ("cifar10", "--workdir /a --data-dir /b --log-every 3", "cifar10 --arch resnet20 --recipe standard"),
        ("cifar10", "--eval-every 5", "cifar10 --arch resnet20 --recipe standard --eval-every 5"),
        ("cifar10", "--recipe quick --epochs 12", "cifar10 --arch resnet20 --recipe quick --epochs 12"),
        ("cifar10", "--recipe quick --epochs 200", "cifar10 --arch resnet20 --recipe quick --epochs 200"),
        ("cifar10", "--steps 7 --no-flip", "cifar10 --arch resnet20 --recipe standard --no-flip --steps 7"),
        (
            "cifar10",
            "--mean 0.5 0.5 0.5 --std 1 1 1 --seed 3",
            "cifar10 --arch resnet20 --recipe standard --mean 0.5 0.5 0.5 --std 1.0 1.0 1.0 --seed 3",
        ),
        (
            "cifar10",
            "--recipe speedrun --rates none",
            "cifar10 --arch airbench95 --recipe speedrun --rates none",
        ),
        (
            "cifar10",
            "--recipe tutorial-000 --mean none --std none",
            "cifar10 --arch resnet18 --recipe tutorial-000 --mean none --std none",
        ),
        ("cifar10", "--recipe paper --arch resnet110", "cifar10 --arch resnet110 --recipe paper"),
        ("cifar100", "--arch resnet56", "cifar100 --arch resnet56 --recipe standard"),
        ("mnist", "--recipe tutorial-003", "mnist --arch mnist_preact_resnet --recipe tutorial-003"),
        ("mnist", "--dataset digits", "cifar10 --arch resnet20 --recipe standard --dataset digits"),
        (
            "folder",
            "--dataset imagenet2012",
            "imagenet --arch resnet50 --recipe imagenet --dataset imagenet2012",
        ),
        ("folder", "--data-dir /c", "imagenet --arch resnet50 --recipe imagenet"),
    ],
)
def test_the_command_gives_the_settings(dataset: str, flags: str, command: Any) -> None:
    config = parse("experiments.any", "", flags.split(), dataset)
    assert command_of(config) == f"python -m experiments.{command}"
