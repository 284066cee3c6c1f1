"""The reference in PyTorch: its networks and what is timed of them."""

import dataclasses
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
from experiments.bench import jax_steps, torch_steps  # noqa: E402
from experiments.bench.case import Case  # noqa: E402
from experiments.bench.torch_networks import Options, TorchResNet, usual_options  # noqa: E402
from jax_resnet.models import create_model, summary  # noqa: E402

TINY = Case(
    "torch", "resnet20", 2, layout="NHWC", image_size=8, options={"stage_sizes": (1,), "widths": (8,)}
)


@pytest.mark.parametrize("name", ["resnet8", "resnet20", "resnet18", "resnet50", "preact_resnet18"])
def test_usual_networks_are_those_of_create_model(name):
    options = usual_options(name)
    assert options is not None
    shapes = {key: value.shape for key, value in TorchResNet(options).state_dict().items()}
    assert shapes == {key: value.shape for key, value in torch_steps.network(name).state_dict().items()}


@pytest.mark.parametrize("name", ["resnet21", "vgg16", "preact_resnet110", "resnet2", "resnext29_2x64d"])
def test_other_networks_have_no_usual_options(name):
    assert usual_options(name) is None


@pytest.mark.parametrize("arch", ["vgg11", "resnext29_2x64d", "wrn_16_4", "seresnet18"])
def test_networks_have_as_many_parameters_as_ours(arch):
    variant = {"variant": "pytorch_cifar"} if arch.startswith("resnext") else {}
    parameters = sum(p.numel() for p in torch_steps.network(arch, **variant).parameters())
    assert parameters == summary(create_model(arch, **variant)).parameters


def test_an_option_that_the_reference_lacks_is_an_error():
    with pytest.raises(TypeError, match="dropout"):
        TorchResNet(stage_sizes=(1,), dropout=0.1)
    assert Options((1,)).shortcut == "B"


@pytest.mark.parametrize(
    "fields",
    [
        {"task": "train"},
        {"task": "evaluate", "batch_size": 1},
        {"task": "evaluate", "dtype": "bf16"},
        {"task": "evaluate", "dtype": "bf16", "bf16": "weights"},
    ],
)
def test_ours_and_pytorchs_cases_have_the_same_network(fields):
    theirs = dataclasses.replace(TINY, **fields)
    step, parameters = torch_steps.prepare(theirs)
    step()
    our_step, our_parameters = jax_steps.prepare(dataclasses.replace(theirs, framework="jax_resnet"))
    our_step()
    assert parameters == our_parameters


def test_the_pytorch_program_does_not_import_jax():
    code = (
        "import sys; from experiments.bench.torch_cifar10 import make_network; make_network('resnet20');"
        "sys.exit('jax' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
