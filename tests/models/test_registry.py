"""Every network of the registry: size, shapes, gradients, statistics, features, no head."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from jax_resnet.models import VGG, MnistCNN, WhitenedResNet, create_model, list_models, summary
from jax_resnet.models.registry import find
from tests.helpers.quick import jit, trained

# Trained parameters, BatchNorm's included, for ten classes.
PARAMETERS = {
    "airbench94": 1_972_792,
    "airbench95": 4_606_520,
    "mnist_cnn": 44_426,
    "mnist_preact_resnet": 576_282,
    "plain18": 11_000_138,
    "plain20": 269_722,
    "plain32": 464_154,
    "plain34": 21_108_298,
    "plain44": 658_586,
    "plain56": 853_018,
    "plain110": 1_727_962,
    "preact_resnet18": 11_172_170,
    "preact_resnet34": 21_280_330,
    "preact_resnet50": 23_513_162,
    "preact_resnet101": 42_505_290,
    "preact_resnet110": 1_727_962,
    "preact_resnet152": 58_148_938,
    "preact_resnet164": 1_703_258,
    "preact_resnet1001": 10_327_706,
    "resnet14": 172_506,
    "resnet18": 11_173_962,
    "resnet20": 269_722,
    "resnet32": 464_154,
    "resnet34": 21_282_122,
    "resnet44": 658_586,
    "resnet50": 23_520_842,
    "resnet56": 853_018,
    "resnet101": 42_512_970,
    "resnet110": 1_727_962,
    "resnet152": 58_156_618,
    "resnet1202": 19_421_274,
    "resnext29_2x64d": 9_130_314,
    "resnext29_8x64d": 34_426_698,
    "resnext29_16x64d": 68_155_210,
    "resnext29_32x4d": 4_775_754,
    "resnext50_32x4d": 22_992_714,
    "resnext101_32x4d": 42_141_514,
    "resnext101_32x8d": 86_755_146,
    "resnext101_64x4d": 81_419_082,
    "seminar_resnet": 691_242,
    "seresnet18": 11_263_042,
    "seresnet50": 26_051_834,
    "vgg11": 9_231_114,
    "vgg13": 9_416_010,
    "vgg16": 14_728_266,
    "vgg19": 20_040_522,
    "whitened_resnet8": 1_972_792,
    "wide_resnet50_2": 66_847_050,
    "wide_resnet101_2": 124_850_506,
    "wrn_16_4": 2_748_890,
    "wrn_28_10": 36_479_194,
    "wrn_40_4": 8_949_210,
}

# Millions, as the papers print them: He et al. 2015, table 6; Xie et al. 2017, table 7; Zagoruyko and
# Komodakis 2016, table 4; He et al. 2016, table 4, whose 1001 layers leave out BatchNorm's 0.15M.
PAPERS = {
    "resnet20": "0.27",
    "resnet32": "0.46",
    "resnet44": "0.66",
    "resnet56": "0.85",
    "resnet110": "1.7",
    "resnet1202": "19.4",
    "preact_resnet110": "1.7",
    "preact_resnet164": "1.7",
    "resnext29_8x64d": "34.4",
    "resnext29_16x64d": "68.2",
    "wrn_16_4": "2.7",
    "wrn_28_10": "36.5",
    "wrn_40_4": "8.9",
}

# For a thousand classes at 224x224: parameters and billions of multiply-adds that torchvision publishes
# with its weights; resnext101_32x4d and seresnet50 are timm's.
IMAGENET = {
    "resnet18": (11_689_512, "1.814"),
    "resnet34": (21_797_672, "3.664"),
    "resnet50": (25_557_032, "4.089"),
    "resnet101": (44_549_160, "7.801"),
    "resnet152": (60_192_808, "11.514"),
    "resnext50_32x4d": (25_028_904, "4.230"),
    "resnext101_32x4d": (44_177_704, None),
    "resnext101_32x8d": (88_791_336, "16.414"),
    "resnext101_64x4d": (83_455_272, "15.460"),
    "wide_resnet50_2": (68_883_240, "11.398"),
    "wide_resnet101_2": (126_886_696, "22.753"),
    "seresnet50": (28_088_024, None),
}

GIANTS = {"preact_resnet1001", "resnet1202"}
NAMES = [pytest.param(name, marks=pytest.mark.slow) if name in GIANTS else name for name in list_models()]


def small(name: str) -> tuple[Any, tuple[int, ...]]:
    """The network with two stages of one block, few channels and small images, which compile quickly."""
    if name == "mnist_cnn":
        return create_model(name), (8, 16, 16, 1)
    if find(name).network is WhitenedResNet:
        return create_model(name, widths=(8, 16)), (8, 8, 8, 3)
    options = {"stage_sizes": (1, 1), "widths": (16, 32)}
    if "stem_width" in find(name).options:
        options["stem_width"] = 8
    return create_model(name, **options), (8, 8, 8, find(name).image_shape[-1])


def test_tables_are_complete() -> None:
    assert list(PARAMETERS) == sorted(PARAMETERS, key=list_models().index)
    assert set(PARAMETERS) == set(list_models())


@pytest.mark.parametrize("name", NAMES)
def test_parameters_and_shapes(name: str) -> None:
    row = find(name)
    model = create_model(name)
    result = summary(model, row.image_shape)
    assert result.parameters == PARAMETERS[name]
    assert result.layers[-1].output == (10,)
    if name in PAPERS:
        digits = len(PAPERS[name].partition(".")[2])
        assert abs(PARAMETERS[name] / 1e6 - float(PAPERS[name])) < 0.5001 * 10**-digits
    assert len(row.paper) > 10


@pytest.mark.parametrize("name", IMAGENET)
@pytest.mark.slow
def test_imagenet_counts(name: str) -> None:
    result = summary(create_model(name, num_classes=1000, stem="imagenet"), (224, 224, 3))
    parameters, multiply_adds = IMAGENET[name]
    assert result.parameters == parameters
    if multiply_adds is not None:
        assert f"{result.multiply_adds / 1e9:.3f}" == multiply_adds


def one_of_each_kind() -> list[str]:
    """The first of the networks that differ in their depth only."""
    kinds: dict[Any, str] = {}
    for name in list_models():
        row = find(name)
        options = {key: value for key, value in row.options.items() if key not in ("stage_sizes", "widths")}
        kinds.setdefault((row.network, row.block, *sorted(options.items())), name)
    return list(kinds.values())


@pytest.mark.parametrize("name", one_of_each_kind())
@pytest.mark.slow
def test_training_and_evaluation(name: str) -> None:
    model, shape = small(name)
    images = jax.random.normal(jax.random.key(1), shape)
    labels = jnp.arange(len(images)) % 10

    variables = trained(model, shape[1:])

    @jit
    def run(variables: Any) -> dict[str, Any]:
        def loss(params: Any) -> tuple[jax.Array, Any]:
            logits, updated = model.apply(
                {**variables, "params": params}, images, train=True, mutable=["batch_stats"]
            )
            return -jax.nn.log_softmax(logits)[jnp.arange(len(labels)), labels].mean(), (logits, updated)

        grads, (logits, updated) = jax.grad(loss, has_aux=True)(variables["params"])
        evaluated, unchanged = model.apply(variables, images, train=False, mutable=["batch_stats"])
        return {
            "evaluated": evaluated,
            "trained": logits,
            "updated": updated,
            "unchanged": unchanged,
            "grads": grads,
        }

    out = jax.tree.map(np.asarray, run(variables))
    for logits in (out["evaluated"], out["trained"]):
        assert logits.shape == (8, 10)
        assert logits.dtype == np.float32
        assert np.isfinite(logits).all()

    stats = flatten_dict(variables["batch_stats"])
    assert bool(stats) == (name != "mnist_cnn")
    for path, value in flatten_dict(out["updated"].get("batch_stats", {})).items():
        assert not np.array_equal(value, stats[path]), f"{path} does not move in training"
    for path, value in flatten_dict(out["unchanged"].get("batch_stats", {})).items():
        np.testing.assert_array_equal(value, stats[path], err_msg=str(path))

    for path, gradient in flatten_dict(out["grads"]).items():
        assert np.isfinite(gradient).all()
        # A bias before BatchNorm cancels.
        bare = name == "mnist_cnn" or (model.__class__ is WhitenedResNet and path[0] == "stem_conv")
        cancels = path[-1] == "bias" and "conv" in path[-2] and not bare
        if not cancels:
            assert np.abs(gradient).max() > 1e-7, f"no gradient reaches {path}"


@pytest.mark.parametrize("name", list_models())
def test_features_and_no_head(name: str) -> None:
    model, shape = small(name)
    model = model.clone(num_classes=0)

    def trace(**call: Any) -> Any:
        image = jax.ShapeDtypeStruct(shape, jnp.float32)
        return jax.eval_shape(
            lambda image: model.init_with_output(jax.random.key(0), image, train=False, **call), image
        )

    pooled, variables = trace()
    maps, _ = trace(method="features")
    assert "head" not in variables["params"]
    assert pooled.ndim == 2
    assert set(maps) == {"stem", "stage1", "stage2"} - ({"stem"} if type(model) in (VGG, MnistCNN) else set())
    first, second = maps["stage1"], maps["stage2"]
    assert first.shape[1] // 2 == second.shape[1] or name == "mnist_cnn"
    if "mnist" not in name:
        assert pooled.shape[-1] == second.shape[-1]
