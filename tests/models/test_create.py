"""What ``create_model`` builds: blocks, frozen parts, classes that a type checker knows."""

import subprocess
import sys
from functools import partial
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from jax_resnet.errors import ModelError
from jax_resnet.models import BasicBlock, Block, BottleneckBlock, ResNet, create_model, list_models
from jax_resnet.models.create import ResNetName, VGGName
from tests.helpers.quick import trained

TINY: dict[str, Any] = {"stage_sizes": (1, 1), "widths": (16, 32)}
IMAGES = jax.random.normal(jax.random.key(7), (4, 8, 8, 3))


class OneConvolution(Block):
    """A block of one's own."""

    kernel: int = 3

    def convolutions(self) -> list[Any]:
        size = (self.kernel, self.kernel)
        return [partial(self.conv, self.features, size, strides=self.strides, padding=self.kernel // 2)]


def names(model: ResNet) -> set[str]:
    params = jax.eval_shape(lambda: model.init(jax.random.key(0), IMAGES, train=False))["params"]
    return set(params["stage2_block1"])


@pytest.mark.parametrize(
    ("block", "convolutions"),
    [
        ("basic", 2),
        ("bottleneck", 3),
        (BasicBlock, 2),
        (BottleneckBlock, 3),
        (partial(BottleneckBlock, cardinality=4), 3),
        (OneConvolution, 1),
        (partial(OneConvolution, kernel=1), 1),
    ],
)
def test_the_block_can_be_chosen(block: Any, convolutions: int) -> None:
    model = create_model("resnet18", **TINY, block=block)
    assert sum(name.startswith("conv") for name in names(model)) == convolutions


def test_options_go_to_the_chosen_block() -> None:
    model = create_model("resnet18", **TINY, block=OneConvolution, kernel=5, shortcut="C")
    params = trained(model, (8, 8, 3))["params"]["stage1_block1"]
    assert params["conv1"]["kernel"].shape == (5, 5, 16, 16)
    assert "shortcut_conv" in params
    with pytest.raises(ValueError, match="has no option 'cardinality'"):
        create_model("resnet18", **TINY, block=OneConvolution, cardinality=2)


@pytest.mark.parametrize("everything", ["all", True])
@pytest.mark.parametrize("name", ["resnet20", "preact_resnet18", "vgg11"])
def test_a_network_frozen_as_a_whole_moves_no_statistics(name: str, everything: Any) -> None:
    model = create_model(name, **TINY, frozen=everything)
    variables = trained(model, IMAGES.shape[1:])
    logits, updated = model.apply(variables, IMAGES, train=True, mutable=["batch_stats"])
    np.testing.assert_array_equal(logits, model.apply(variables, IMAGES, train=False))
    old = flatten_dict(variables["batch_stats"])
    for path, value in flatten_dict(updated["batch_stats"]).items():
        np.testing.assert_array_equal(value, old[path])
    # Fewer stages than it was made with: "all" still means all.
    model.clone(stage_sizes=(1,), widths=(16,))


@pytest.mark.parametrize("nothing", [False, (), None])
def test_a_network_is_not_frozen_by_default(nothing: Any) -> None:
    variables = trained(create_model("resnet20", **TINY), IMAGES.shape[1:])
    logits = [
        create_model("resnet20", **TINY, **options).apply(
            variables, IMAGES, train=True, mutable=["batch_stats"]
        )[0]
        for options in ({}, {"frozen": nothing}, {"remat": nothing})
    ]
    np.testing.assert_array_equal(logits[0], logits[1])
    np.testing.assert_array_equal(logits[0], logits[2])


def test_one_part_can_be_named_without_a_list() -> None:
    model = create_model("resnet20", **TINY, frozen="stem", remat="all")
    variables = trained(model, IMAGES.shape[1:])
    _, updated = model.apply(variables, IMAGES, train=True, mutable=["batch_stats"])
    old, new = variables["batch_stats"], updated["batch_stats"]
    np.testing.assert_array_equal(new["stem_norm"]["mean"], old["stem_norm"]["mean"])
    assert not np.array_equal(new["stage1_block1"]["norm1"]["mean"], old["stage1_block1"]["norm1"]["mean"])


def test_pre_activation_with_an_imagenet_stem_normalizes_before_the_pool() -> None:
    # fb.resnet.torch, models/preresnet.lua: convolution, BatchNorm, ReLU, max-pool; the first block starts
    # with its convolution.
    model = create_model("preact_resnet18", stem="imagenet", stage_sizes=(2,), widths=(16,))
    params = jax.eval_shape(lambda: model.init(jax.random.key(0), IMAGES, train=False))["params"]
    assert set(params) == {"stem_conv", "stem_norm", "stage1_block1", "stage1_block2", "final_norm", "head"}
    assert "norm1" not in params["stage1_block1"]
    assert "norm1" in params["stage1_block2"]

    variables = trained(model, IMAGES.shape[1:])
    maps = model.apply(variables, IMAGES, train=False, method="features")
    stem, stats = variables["params"]["stem_norm"], variables["batch_stats"]["stem_norm"]
    y = jax.lax.conv_general_dilated(
        IMAGES,
        variables["params"]["stem_conv"]["kernel"],
        (2, 2),
        [(3, 3), (3, 3)],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    scale, bias, mean, var = (v[None, None, None] for v in (stem["scale"], stem["bias"], *stats.values()))
    y = np.maximum((y - mean) / np.sqrt(var + 1e-5) * scale + bias, 0)
    pooled = jax.lax.reduce_window(
        y, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), [(0, 0), (1, 1), (1, 1), (0, 0)]
    )
    assert list(stats) == ["mean", "var"]
    np.testing.assert_allclose(maps["stem"], pooled, rtol=1e-4, atol=1e-5)

    # TensorFlow's form, on request; and with a CIFAR stem nothing changes.
    other = create_model("preact_resnet18", stem="imagenet", activate_stem=False)
    assert not other.activate_stem
    assert not create_model("preact_resnet18").activate_stem
    assert not create_model("resnet18", stem="imagenet").activate_stem


def test_the_names_that_type_checkers_know_are_those_listed() -> None:
    listed = {*get_args(ResNetName), *get_args(VGGName), "mnist_cnn", "mnist_preact_resnet"}
    listed |= {"airbench94", "airbench95", "whitened_resnet8"}
    assert listed == set(list_models())
    for name in get_args(ResNetName):
        assert type(create_model(name)) is ResNet


@pytest.mark.slow
def test_a_type_checker_sees_the_network(tmp_path: Any) -> None:
    pytest.importorskip("mypy", reason="mypy is not installed")
    code = tmp_path / "user.py"
    code.write_text(
        "import jax_resnet\n"
        "reveal_type(jax_resnet.create_model('resnet18').stage_sizes)\n"
        "reveal_type(jax_resnet.create_model('vgg11', act='gelu'))\n"
        "def f(name: str) -> None:\n"
        "    reveal_type(jax_resnet.create_model(name))\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--ignore-missing-imports", "--config-file=", str(code)],
        capture_output=True,
        text=True,
    )
    for line in (
        'user.py:2: note: Revealed type is "typing.Sequence[',
        'user.py:3: note: Revealed type is "jax_resnet.models.vgg.VGG"',
        'user.py:5: note: Revealed type is "jax_resnet.models.resnet.ResNet | ',
    ):
        assert line in done.stdout, done.stdout


@pytest.mark.parametrize(
    "options",
    [
        {"frozen": ["stem"]},
        {"frozen": {"stem", "stage1"}},
        {"widths": np.array([8, 16, 32])},
        {"stage_sizes": [1, 1, 1]},
        {"shortcut": "B", "dtype": jnp.bfloat16},
    ],
)
def test_networks_made_alike_are_equal_and_can_be_static_arguments(options: dict[str, Any]) -> None:
    first, second = (create_model("resnet8", **options) for _ in range(2))
    assert first == second
    assert hash(first) == hash(second)
    compiled = jax.jit(lambda model, x: x + model.num_classes, static_argnums=0)
    compiled(first, 1.0)
    compiled(second, 1.0)
    assert compiled._cache_size() == 1


def test_the_order_of_options_plays_no_role_and_a_wrong_one_is_not_remembered() -> None:
    options = {"shortcut": "B", "zero_init_residual": True}
    assert create_model("resnet8", **options) == create_model("resnet8", **dict(reversed(options.items())))
    with pytest.raises(ModelError, match="se_reduction"):
        create_model("resnet8", se_reduction=16.0)
    create_model("resnet8", se_reduction=16)


def test_a_stem_that_is_given_replaces_that_of_a_variant() -> None:
    blog = create_model("resnext50_32x4d", variant="blog")
    other = create_model("resnext50_32x4d", variant="blog", stem="imagenet")
    assert (blog.stem, other.stem) == ("imagenet_blog", "imagenet")
    assert other == blog.clone(stem="imagenet")


def test_shortcut_a_cannot_narrow() -> None:
    model = create_model("resnet20", widths=(64, 32, 16))
    with pytest.raises(ModelError, match="shortcut A pads channels and cannot lead from 64 to 32: use"):
        model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False)
