"""PyTorch's names and layouts to ours and back, for every network and every style."""

from typing import Any

import jax
import ml_dtypes
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from jax_resnet.convert import STYLES, count_classes, find_style, from_torch, to_torch
from jax_resnet.convert.template import small_image_shape, template
from jax_resnet.convert.unwrap import find_entry
from jax_resnet.models import create_model, list_models

# A thousand layers to trace, or a quarter of a gigabyte to move.
LARGE = {
    "preact_resnet1001",
    "resnet1202",
    "resnext29_16x64d",
    "resnext101_32x8d",
    "resnext101_64x4d",
    "wide_resnet50_2",
    "wide_resnet101_2",
}
NAMES = [pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in list_models()]


def numbers(model: Any, image_shape: tuple[int, int, int] | None = None) -> dict[str, Any]:
    """Variables whose every entry differs from its neighbors, so that a wrong transposition shows."""
    shapes = template(model, image_shape)
    arrays = {
        path: np.arange(i, i + np.prod(shape), dtype=np.float32).reshape(shape)
        for i, (path, shape) in enumerate(shapes.items())
    }
    return {"batch_stats": {}, **unflatten_dict(arrays)}


def assert_same(a: Any, b: Any) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.slow
def test_round_trip(name: str) -> None:
    model = create_model(name)
    variables = numbers(model)
    state_dict = to_torch(variables, model, style="pytorch_cifar")
    assert len(state_dict) == len(jax.tree.leaves(variables)) + sum(
        "num_batches" in key for key in state_dict
    )
    assert_same(from_torch(state_dict, model), variables)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet20", {}),
        ("resnet50", {"shortcut": "D", "stem": "imagenet_d"}),
        ("preact_resnet18", {"se_reduction": 16, "num_classes": 0}),
        ("vgg11", {}),
        ("seminar_resnet", {}),
    ],
)
@pytest.mark.slow
def test_round_trip_in_every_style(style: str, name: str, options: dict[str, Any]) -> None:
    model = create_model(name, **options)
    variables = numbers(model, (64, 64, 1))
    state_dict = to_torch(variables, model, style)
    assert len(set(state_dict)) >= len(jax.tree.leaves(variables))
    assert_same(from_torch({f"module.{key}": value for key, value in state_dict.items()}, model), variables)


@pytest.mark.parametrize(
    ("name", "options", "style", "path", "key"),
    [
        ("resnet20", {}, "akamaster", "stage3_block2/conv1/kernel", "layer3.1.conv1.weight"),
        ("resnet18", {}, "pytorch-cifar", "stage2_block1/shortcut_norm/bias", "layer2.0.shortcut.1.bias"),
        ("resnet18", {}, "timm", "stage2_block1/shortcut_conv/kernel", "layer2.0.downsample.0.weight"),
        ("resnet18", {}, "torchvision", "head/bias", "fc.bias"),
        (
            "resnet50",
            {"shortcut": "D"},
            "timm",
            "stage1_block1/shortcut_conv/kernel",
            "layer1.0.downsample.1.weight",
        ),
        ("resnet50", {"stem": "imagenet_d"}, "timm", "stem_conv2/kernel", "conv1.3.weight"),
        ("resnet50", {"stem": "imagenet_d"}, "timm", "stem_norm2/scale", "conv1.4.weight"),
        ("resnet50", {"stem": "imagenet_d"}, "timm", "stem_conv3/kernel", "conv1.6.weight"),
        ("resnet50", {"stem": "imagenet_d"}, "timm", "stem_norm3/scale", "bn1.weight"),
        ("seresnet50", {}, "timm", "stage1_block1/se/reduce/kernel", "layer1.0.se.fc1.weight"),
        ("vgg16", {}, "pytorch_cifar", "stage5_norm13/scale", "features.41.weight"),
        ("mnist_preact_resnet", {}, "timm", "stage1_block1/shortcut_conv/bias", "res1.0.identity.bias"),
        ("preact_resnet18", {}, "pytorch_cifar", "final_norm/scale", "bn.weight"),
    ],
)
def test_names(name: str, options: dict[str, Any], style: str, path: str, key: str) -> None:
    model = create_model(name, **options)
    variables = numbers(model)
    state_dict = to_torch(variables, model, style)
    leaves = {**flatten_dict(variables["params"], sep="/"), **flatten_dict(variables["batch_stats"], sep="/")}
    ours = leaves[path]
    expected = ours.transpose(3, 2, 0, 1) if ours.ndim == 4 else ours.T
    np.testing.assert_array_equal(state_dict[key].reshape(expected.shape), expected)
    if "se/" in path:
        assert state_dict[key].shape == (*expected.shape, 1, 1)


@pytest.fixture
def state_dict() -> dict[str, np.ndarray]:
    model = create_model("resnet20")
    return to_torch(numbers(model), model, "akamaster")


def test_wrappers_and_counters_are_taken_off(state_dict: dict[str, np.ndarray]) -> None:
    model = create_model("resnet20")
    expected = numbers(model)
    assert_same(
        from_torch({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state_dict.items()}}, model),
        expected,
    )
    assert_same(
        from_torch({"net": {f"_orig_mod.module.{k}": v for k, v in state_dict.items()}, "acc": 0.9}, model),
        expected,
    )
    plain = {key: value for key, value in state_dict.items() if "num_batches_tracked" not in key}
    assert_same(from_torch(plain, model), expected)


def test_dtypes(state_dict: dict[str, np.ndarray]) -> None:
    model = create_model("resnet20")
    for dtype, expected in (
        (np.float16, np.float32),
        (ml_dtypes.bfloat16, np.float32),
        (np.float32, np.float32),
        (np.float64, np.float64),
    ):
        variables = from_torch({key: value.astype(dtype) for key, value in state_dict.items()}, model)
        assert {x.dtype for x in jax.tree.leaves(variables)} == {np.dtype(expected)}


def test_results_share_no_memory(state_dict: dict[str, np.ndarray]) -> None:
    model = create_model("resnet20")
    variables = from_torch(state_dict, model)
    back = to_torch(variables, model)
    for leaf in jax.tree.leaves(variables):
        assert leaf.flags.c_contiguous
        assert not any(np.shares_memory(leaf, array) for array in (*state_dict.values(), *back.values()))


def test_images_of_other_channels_and_sizes() -> None:
    model = create_model("resnet20")
    variables = numbers(model, (32, 32, 1))
    assert_same(from_torch(to_torch(variables, model), model), variables)
    model = create_model("mnist_cnn")
    variables = numbers(model, (32, 32, 3))
    state_dict = to_torch(variables, model)
    assert_same(from_torch(state_dict, model, image_shape=(32, 32, 3)), variables)
    with pytest.raises(ValueError, match=r"fc1.weight is \(120, 400\), not \(120, 256\)"):
        from_torch(state_dict, model)


def test_classes_and_style_are_found(state_dict: dict[str, np.ndarray]) -> None:
    model = create_model("resnet20", num_classes=0)
    assert count_classes({"state_dict": state_dict}, model) == 10
    assert find_style(state_dict, create_model("resnet20")) == "pytorch_cifar"
    del state_dict["linear.bias"]
    assert count_classes(state_dict, model) == 10  # as of a head without bias
    del state_dict["linear.weight"]
    with pytest.raises(
        ValueError, match=r"no linear head: none of classifer\.weight, fc\.weight, linear\.weight is there"
    ):
        count_classes(state_dict, model)


def test_bfloat16_is_written_in_a_type_that_torch_takes() -> None:
    model = create_model("resnet8")
    variables = jax.tree.map(lambda x: x.astype(ml_dtypes.bfloat16), numbers(model))
    state_dict = to_torch(variables, model)
    assert {array.dtype for array in state_dict.values()} == {np.dtype(np.float32), np.dtype(np.int64)}


@pytest.mark.parametrize(
    ("name", "found"), [("optimal_model", True), ("upgraded", True), ("optimizer", False)]
)
def test_words_within_names_of_entries_are_no_optimizers(
    state_dict: dict[str, np.ndarray], name: str, found: bool
) -> None:
    assert (find_entry({name: state_dict}).name == name) is found


def test_mismatches_are_named(state_dict: dict[str, np.ndarray]) -> None:
    model = create_model("resnet20")

    def message(**changes: Any) -> str:
        changed = {key.replace("__", "."): value for key, value in changes.items()}
        broken = {key: value for key, value in {**state_dict, **changed}.items() if value is not None}
        with pytest.raises(
            ValueError, match="the weights do not fit ResNet, with names as in pytorch_cifar"
        ) as info:
            from_torch(broken, model)
        assert "\n" not in str(info.value)
        return str(info.value)

    weight = state_dict["layer3.2.conv2.weight"]
    renamed = message(layer3__2__conv2__weight=None, layer3__2__conv2__weigth=weight)
    assert (
        "no layer3.2.conv2.weight (64, 64, 3, 3) (nearest: layer3.2.conv2.weigth (64, 64, 3, 3)); "
        "unexpected layer3.2.conv2.weigth (64, 64, 3, 3) (nearest: layer3.2.conv2.weight (64, 64, 3, 3))"
    ) in renamed
    assert "linear.weight is (100, 64), not (10, 64)" in message(linear__weight=np.zeros((100, 64)))
    assert "unexpected layer9.conv.weight (1,)" in message(layer9__conv__weight=np.zeros(1))
    with pytest.raises(ValueError, match="and 93 more of another shape"):
        from_torch(state_dict, create_model("resnet20", widths=(8, 16, 32)))


def test_wrong_variables_and_styles_are_named() -> None:
    model = create_model("resnet20")
    variables = numbers(create_model("resnet32"))
    with pytest.raises(
        ValueError,
        match=r"not the variables of this ResNet: unexpected .*/stage1_block4/",
    ):
        to_torch(variables, model)
    with pytest.raises(ValueError, match=r"style is one of .*, not 'torchvison'; did you mean 'torchvision'"):
        to_torch(numbers(model), model, style="torchvison")
    with pytest.raises(ValueError, match="style is one of"):
        from_torch({}, model, style="keras")


def test_tensors() -> None:
    torch = pytest.importorskip("torch", reason="converts tensors, and PyTorch is not installed")
    model = create_model("resnet20")
    expected = numbers(model)
    tensors = {
        key: torch.nn.Parameter(torch.as_tensor(value), requires_grad=value.dtype.kind == "f")
        for key, value in to_torch(expected, model).items()
    }
    assert_same(from_torch(tensors, model), expected)
    small = {key: value.detach().to(torch.bfloat16) for key, value in tensors.items()}
    assert {x.dtype for x in jax.tree.leaves(from_torch(small, model))} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet8", {}),
        ("resnet18", {"stem": "imagenet_d"}),
        ("vgg11", {}),
        ("airbench94", {}),
        ("whitened_resnet8", {}),
        ("mnist_preact_resnet", {}),
        ("mnist_cnn", {}),
    ],
)
def test_the_first_convolution_is_adapted_to_other_channels(name: str, options: dict[str, Any]) -> None:
    model = create_model(name, **options)
    height, width, _ = small_image_shape(model)
    color = numbers(model, (height, width, 3))
    gray = from_torch(to_torch(color, model), model, in_channels=1)
    first = ("params", model.first_conv, "kernel")
    expected = flatten_dict(color) | {first: flatten_dict(color)[first].sum(2, keepdims=True)}
    assert_same(gray, {"batch_stats": {}, **unflatten_dict(expected)})
    assert_same(from_torch(to_torch(gray, model), model), gray)


@pytest.mark.parametrize(
    ("name", "options"),
    [("airbench94", {"widths": (8, 8, 8, 8, 8)}), ("vgg11", {"stage_sizes": (1,) * 6, "widths": (8,) * 6})],
)
def test_networks_that_need_larger_images_are_converted(name: str, options: dict[str, Any]) -> None:
    model = create_model(name, **options)
    variables = numbers(model)
    assert_same(from_torch(to_torch(variables, model), model), variables)
