"""Feature maps by ``method="features"``, and the table of their channels and strides."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_resnet.models import create_model, feature_info
from tests.helpers.quick import jit, trained


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("resnet20", {}, {"stem": (16, 1), "stage1": (16, 1), "stage2": (32, 2), "stage3": (64, 4)}),
        (
            "resnet18",
            {},
            {"stem": (64, 1), "stage1": (64, 1), "stage2": (128, 2), "stage3": (256, 4), "stage4": (512, 8)},
        ),
        (
            "resnet50",
            {"stem": "imagenet"},
            {
                "stem": (64, 4),
                "stage1": (256, 4),
                "stage2": (512, 8),
                "stage3": (1024, 16),
                "stage4": (2048, 32),
            },
        ),
        ("wrn_28_10", {}, {"stem": (16, 1), "stage1": (160, 1), "stage2": (320, 2), "stage3": (640, 4)}),
        (
            "vgg16",
            {},
            {
                "stage1": (64, 2),
                "stage2": (128, 4),
                "stage3": (256, 8),
                "stage4": (512, 16),
                "stage5": (512, 32),
            },
        ),
        ("mnist_cnn", {}, {"stage1": (6, 2), "stage2": (16, 4)}),
        (
            "mnist_preact_resnet",
            {},
            {"stem": (8, 1), "stage1": (16, 1), "stage2": (32, 2), "stage3": (64, 4)},
        ),
    ],
)
def test_channels_and_strides(name, options, expected) -> None:
    info = feature_info(create_model(name, **options))
    assert info == expected
    assert list(info) == list(expected)


def test_stages_stay_in_order_past_the_ninth() -> None:
    info = feature_info(create_model("resnet20", stage_sizes=(1,) * 11, widths=(4,) * 11))
    assert list(info) == ["stem", *(f"stage{i}" for i in range(1, 12))]


@pytest.mark.parametrize("name", ["resnet20", "preact_resnet20"])
@pytest.mark.parametrize("scan_layers", [False, True])
def test_the_logits_follow_from_the_last_map(name: str, scan_layers: bool) -> None:
    small = {"stage_sizes": (2, 2), "widths": (8, 16), "scan_layers": scan_layers}
    model = create_model(name, **small, **({"final_norm": False} if "preact" in name else {}))
    images = jax.random.normal(jax.random.key(7), (4, 8, 8, 3))
    variables = trained(model, images.shape[1:])
    logits, maps = jit(
        lambda v: (
            model.apply(v, images, train=False),
            model.apply(v, images, train=False, method="features"),
        )
    )(variables)
    head = variables["params"]["head"]
    expected = maps["stage2"].mean((1, 2)) @ head["kernel"] + head["bias"][None]
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_features_need_no_head_and_move_the_statistics_in_training() -> None:
    model = create_model("resnet20", stage_sizes=(1,), widths=(8,))
    images = jax.random.normal(jax.random.key(7), (4, 8, 8, 3))
    variables = model.init(jax.random.key(0), images, train=False, method="features")
    assert "head" not in variables["params"]
    maps, updated = model.apply(variables, images, train=True, method="features", mutable=["batch_stats"])
    assert set(maps) == {"stem", "stage1"}
    assert not jnp.array_equal(
        updated["batch_stats"]["stem_norm"]["mean"], variables["batch_stats"]["stem_norm"]["mean"]
    )
