"""The summary, and the command that prints it."""

import doctest
import os
import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from jax_resnet.models import GroupNorm, create_model, summary
from jax_resnet.models.__main__ import main
from jax_resnet.models.summary import Layer


def test_layers_in_order_with_shapes() -> None:
    result = summary(create_model("resnext29_8x64d"))
    assert [layer.name for layer in result.layers[:3]] == [
        "stem_conv",
        "stem_norm",
        "stage1_block1/shortcut_conv",
    ]
    grouped = next(layer for layer in result.layers if layer.name == "stage2_block1/conv2")
    assert (grouped.kind, grouped.kernel_size, grouped.strides, grouped.groups) == ("conv", 3, 2, 8)
    assert str(grouped) == "conv 3x3, 8 groups"
    assert grouped.input == (32, 32, 1024)
    assert grouped.output == (16, 16, 1024)
    assert grouped.parameters == 9 * 128 * 1024
    assert grouped.multiply_adds == 16 * 16 * grouped.parameters
    assert result.layers[-1] == Layer("head", "linear", (1024,), (10,), 10250, 10240)


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


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet56", {}),
        ("preact_resnet164", {}),
        ("resnet20", {"remat": ("stage1", "stage3")}),
        ("resnext29_2x64d", {"variant": "pytorch_cifar"}),
        ("seresnet18", {}),
        ("resnet56", {"folded": True}),
    ],
)
def test_a_network_in_loops_has_the_summary_of_the_network_written_out(name: str, options: dict) -> None:
    looped = summary(create_model(name, **options, scan_layers=True))
    assert looped == summary(create_model(name, **options))


def test_parameters_are_those_of_resnet56_in_loops() -> None:
    assert summary(create_model("resnet56", scan_layers=True)).parameters == 853_018


@pytest.mark.parametrize("norm", [nn.GroupNorm, nn.LayerNorm])
def test_layers_of_other_classes_are_counted(norm: type[nn.Module]) -> None:
    class Adapter(nn.Module):
        """Takes the fields and arguments of BatchNorm."""

        momentum: float = 0.9
        epsilon: float = 1e-5
        dtype: object = None
        frozen: bool = False
        scale_init: object = nn.initializers.ones

        @nn.compact
        def __call__(self, x, *, train, residual=None, relu=False):
            y = norm(**({"num_groups": 2} if norm is nn.GroupNorm else {}))(x)
            y = y if residual is None else y + residual
            return nn.relu(y) if relu else y

    model = create_model("resnet20", norm=Adapter)
    result = summary(model)
    assert result.parameters == summary(create_model("resnet20")).parameters
    assert result.layers[1].kind == norm.__name__
    assert result == summary(create_model("resnet20", norm=Adapter, scan_layers=True))


def test_strides_are_those_of_the_convolution_for_odd_images() -> None:
    layers = {layer.name: layer for layer in summary(create_model("resnet20"), (9, 9, 3)).layers}
    assert layers["stage2_block1/conv1"].strides == 2
    assert layers["stage2_block1/conv1"].output == (5, 5, 32)
    assert layers["stage2_block1/conv2"].strides == 1


def test_the_table_has_a_line_per_layer() -> None:
    result = summary(create_model("resnet20"))
    header, *lines, total = str(result).splitlines()
    assert header.split() == ["layer", "kind", "input", "output", "parameters", "multiply-adds"]
    assert len(lines) == len(result.layers)
    assert lines[0].split() == ["stem_conv", "conv", "3x3", "32x32x3", "32x32x16", "432", "442,368"]
    assert total.split() == ["total", "269,722", "40,551,040"]


def test_the_command_prints_layers_and_totals(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["resnet20"]) == 0
    out = capsys.readouterr().out
    assert "stage3_block3/conv2" in out
    assert "269,722 parameters (1.1 MB in float32), 40.55 M multiply-adds for an image of 32x32x3" in out
    assert main(["resnet18", "--num-classes", "1000", "--stem", "imagenet", "--image-size", "224"]) == 0
    assert "11,689,512 parameters (46.8 MB in float32), 1.81 G multiply-adds" in capsys.readouterr().out
    assert main([]) == 0
    assert "wrn_28_10 " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("resnet21", "did you mean resnet20 or resnet26?"),
        ("vgg16 --image-size 8", "images of 8x8 are too small"),
        ("resnet18 --stem x", "stem is one of"),
        ("resnet18 --image-size 0", "--image-size is at least 1"),
        ("resnet18 --image-size big", "argument --image-size: invalid int value: 'big'"),
        ("resnet18 --num-clases 5", "unrecognized argument --num-clases: did you mean --num-classes?"),
        ("resnet18 --num-classes", "argument --num-classes: expected one argument"),
        ("resnet18 resnet20", "unrecognized argument resnet20"),
    ],
)
def test_a_wrong_argument_is_one_line(
    arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert message in captured.err


def test_a_wrong_name_ends_the_process_with_status_2() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "jax_resnet.models", "resnet17"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: no network is called 'resnet17'")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", ["", "resnet110", "--help"])
def test_a_closed_pipe_ends_the_command_quietly(arguments: str) -> None:
    read, write = os.pipe()
    os.close(read)  # Nobody reads: the first flush fails.
    try:
        done = subprocess.run(
            [sys.executable, "-m", "jax_resnet.models", *arguments.split()],
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(write)
    assert done.stderr == ""
    # Some versions of argparse ignore that their help cannot be written.
    assert done.returncode in ((0, 141) if arguments == "--help" else (141,))


def test_the_command_does_not_need_the_packages_of_the_experiments() -> None:
    code = "import sys, jax_resnet.models.__main__; sys.exit('tyro' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_examples_are_right() -> None:
    module = sys.modules["jax_resnet.models.summary"]  # the package has a function of that name
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


def test_group_norms_are_counted_once():
    model = create_model("resnet8", norm=partial(GroupNorm, num_groups=8))
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False))
    assert summary(model).parameters == sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))
