"""The summary, and the command that prints it."""

import subprocess
import sys

import pytest

from jax_resnet.models import create_model, summary
from jax_resnet.models.__main__ import show


def test_layers_in_order_with_shapes() -> None:
    result = summary(create_model("resnext29_8x64d"))
    assert [layer.name for layer in result.layers[:3]] == [
        "stem_conv",
        "stem_norm",
        "stage1_block1/shortcut_conv",
    ]
    grouped = next(layer for layer in result.layers if layer.name == "stage2_block1/conv2")
    assert grouped.kind == "conv 3x3, 8 groups"
    assert grouped.input == (32, 32, 1024)
    assert grouped.output == (16, 16, 1024)
    assert grouped.parameters == 9 * 128 * 1024
    assert grouped.multiply_adds == 16 * 16 * grouped.parameters
    assert result.layers[-1] == ("head", "linear", (1024,), (10,), 10250, 10240)


def test_multiply_adds_of_cifar_networks() -> None:
    # He et al. 2015, section 4.2, by hand: the stem, six 3x3 convolutions a stage, the head.
    stem, head = 32 * 32 * 27 * 16, 640
    stages = sum(
        (size**2) * 9 * (5 * width * width + width * (width if i == 0 else width // 2))
        for i, (size, width) in enumerate(((32, 16), (16, 32), (8, 64)))
    )
    assert summary(create_model("resnet20")).multiply_adds == stem + stages + head
    projections = 16 * 16 * 16 * 32 + 8 * 8 * 32 * 64
    with_projections = summary(create_model("resnet20", shortcut="B")).multiply_adds
    assert with_projections == stem + stages + head + projections
    assert f"{with_projections / 1e6:.1f}" == "40.8"


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert show("resnet20") == 0
    out = capsys.readouterr().out
    assert "stage3_block3/conv2" in out
    assert "269,722 parameters (1.1 MB in float32), 40.55 M multiply-adds for an image of 32x32x3" in out
    assert show("resnet18", num_classes=1000, stem="imagenet", image_size=224) == 0
    assert "11,689,512 parameters (46.8 MB in float32), 1.81 G multiply-adds" in capsys.readouterr().out
    assert show() == 0
    assert "wrn_28_10 " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "resnet21"}, "did you mean resnet20 or resnet26?"),
        ({"name": "vgg16", "image_size": 8}, "images of 8x8 are too small"),
        ({"name": "resnet18", "stem": "x"}, "stem is one of"),
        ({"name": "resnet18", "image_size": 0}, "--image-size is at least 1"),
    ],
)
def test_wrong_arguments_are_one_line(
    arguments: dict, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert show(**arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert message in captured.err


def test_command_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "jax_resnet.models", "resnet17"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: no network is called 'resnet17'")
    assert "Traceback" not in done.stderr
