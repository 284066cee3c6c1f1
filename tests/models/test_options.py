"""Options of networks: each does what it says, and wrong ones are refused."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict

from jax_resnet.errors import ModelError
from jax_resnet.layers.pool import average_pool
from jax_resnet.models import BasicBlock, GroupNorm, create_model, list_models
from tests.helpers.quick import jit, trained

TINY: dict[str, Any] = {"stage_sizes": (1, 2), "widths": (16, 32)}
IMAGES = jax.random.normal(jax.random.key(7), (4, 8, 8, 3))


def variables_of(model: Any) -> Any:
    """Variables as after training."""
    return trained(model, IMAGES.shape[1:])


def apply(model: Any, variables: Any, **options: Any) -> Any:
    return jit(lambda v: model.apply(v, IMAGES, **{"train": False, **options}))(variables)


@pytest.mark.parametrize("option", ["A", "B", "C", "D", "none"])
def test_shortcuts_have_these_parameters(option: str) -> None:
    model = create_model("resnet20", shortcut=option, **TINY)
    params = jax.eval_shape(lambda: model.init(jax.random.key(0), IMAGES, train=False))["params"]
    projections = {block for block, layers in params.items() if "shortcut_conv" in layers}
    blocks = {"stage1_block1", "stage2_block1", "stage2_block2"}
    assert projections == {"A": set(), "none": set(), "C": blocks}.get(option, {"stage2_block1"})


def test_option_a_pads_both_sides_or_the_end() -> None:
    blocks = {
        side: create_model("resnet20", **TINY, shortcut="A", shortcut_padding=side)
        for side in ("both", "end")
    }
    variables = variables_of(blocks["both"])
    # Without the residual branch what remains is the shortcut of the first block of the second stage.
    params = jax.tree.map(jnp.zeros_like, variables["params"]["stage2_block1"])
    variables["params"] = {**variables["params"], "stage2_block1": params}
    for side, model in blocks.items():
        before = apply(model.clone(stage_sizes=(1,)), trim(variables), method="features")["stage1"]
        after = apply(model.clone(stage_sizes=(1, 1)), trim(variables, 2), method="features")["stage2"]
        start = 8 if side == "both" else 0
        np.testing.assert_allclose(after[..., start : start + 16], before[:, ::2, ::2], rtol=1e-6)
        assert not np.delete(np.asarray(after), np.s_[start : start + 16], axis=-1).any()


def trim(variables: Any, stages: int = 1) -> Any:
    """The variables without the blocks that a shorter network lacks."""
    gone = {"stage2_block2"} | ({"stage2_block1"} if stages == 1 else set())
    return {name: {k: v for k, v in tree.items() if k not in gone} for name, tree in variables.items()}


@pytest.mark.parametrize("name", ["resnet20", "preact_resnet18", "resnet50", "preact_resnet50"])
def test_zero_init_residual_starts_blocks_as_their_shortcut(name: str) -> None:
    model = create_model(name, zero_init_residual=True, stage_sizes=(2,), widths=(16,), shortcut="B")
    variables = jit(lambda: model.init(jax.random.key(0), IMAGES, train=False))()
    without = create_model(name, stage_sizes=(1,), widths=(16,), shortcut="B")
    rest = {c: {k: v for k, v in tree.items() if k != "stage1_block2"} for c, tree in variables.items()}
    np.testing.assert_allclose(
        apply(model, variables, method="features")["stage1"],
        apply(without, rest, method="features")["stage1"],
        rtol=1e-6,
    )


@pytest.mark.parametrize("name", ["resnet20", "preact_resnet18", "vgg11"])
def test_bfloat16_keeps_parameters_statistics_and_logits_in_float32(name: str) -> None:
    tiny = {**TINY, "dtype": jnp.bfloat16}
    model = create_model(name, **tiny)
    variables = variables_of(model)
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    logits, updated = apply(model, variables, train=True, mutable=["batch_stats"])
    assert logits.dtype == jnp.float32
    assert {x.dtype for x in jax.tree.leaves(updated)} == {jnp.dtype(jnp.float32)}
    assert apply(model, variables, method="features")["stage1"].dtype == jnp.bfloat16
    exact = apply(create_model(name, **TINY), variables, train=True, mutable=["batch_stats"])[0]
    assert np.abs(logits - exact).max() < 0.1 * np.abs(exact).max()


def test_frozen_parts_keep_their_statistics() -> None:
    model = create_model("resnet20", **TINY, frozen=("stem", "stage1"))
    variables = variables_of(model)
    _, updated = apply(model, variables, train=True, mutable=["batch_stats"])
    old = flatten_dict(variables["batch_stats"])
    for path, value in flatten_dict(updated["batch_stats"]).items():
        assert np.array_equal(value, old[path]) == path[0].startswith(("stem", "stage1")), path
    frozen = model.clone(frozen=("stem", "stage1", "stage2"))
    np.testing.assert_allclose(
        apply(frozen, variables, train=True), apply(frozen, variables, train=False), rtol=1e-6
    )


@pytest.mark.parametrize("name", ["resnet20", "preact_resnet18"])
def test_remat_changes_nothing(name: str) -> None:
    model = create_model(name, **TINY, dropout=0.5, drop_path=0.5)
    variables = variables_of(model)

    def loss(params: Any, model: Any) -> Any:
        logits, updated = model.apply(
            {**variables, "params": params},
            IMAGES,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(3)},
        )
        return jnp.square(logits).mean(), updated

    plain = jit(jax.value_and_grad(lambda p: loss(p, model), has_aux=True))(variables["params"])
    remat = model.clone(remat=("stage1", "stage2"))
    assert jax.tree.structure(variables_of(remat)) == jax.tree.structure(variables)
    again = jit(jax.value_and_grad(lambda p: loss(p, remat), has_aux=True))(variables["params"])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), plain, again)


def test_dropout_and_drop_path_draw_only_in_training() -> None:
    for option in ({"dropout": 0.5}, {"drop_path": 0.9}):
        model = create_model("wrn_16_4", stage_sizes=(1, 1), widths=(16, 32), **option)
        variables = variables_of(model)
        plain = create_model("wrn_16_4", stage_sizes=(1, 1), widths=(16, 32))
        np.testing.assert_allclose(apply(model, variables), apply(plain, variables), rtol=1e-5)
        first, second = (
            apply(model, variables, train=True, rngs={"dropout": jax.random.key(seed)}) for seed in (0, 1)
        )
        assert not np.allclose(first, second)


def test_drop_path_rises_with_depth() -> None:
    model = create_model("resnet20", stage_sizes=(1, 2), widths=(4, 4), drop_path=0.6)
    rates = []

    def watch(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        if isinstance(context.module, BasicBlock) and context.method_name == "__call__":
            rates.append(context.module.drop_path)
        return call(*args, **kwargs)

    with nn.intercept_methods(watch):
        jax.eval_shape(lambda: model.init(jax.random.key(0), IMAGES, train=False))
    assert rates == pytest.approx([0.0, 0.3, 0.6])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "resnet21"}, "6n\\+2 layers; did you mean resnet20 or resnet26"),
        ({"name": "resnet-18"}, "no network is called 'resnet-18'; did you mean .*resnet18"),
        (
            {"name": "wrn_17_4"},
            "a wide ResNet has 6n\\+4 layers; did you mean wrn_16_4 or wrn_22_4",
        ),
        ({"name": None}, "the name of a network is a string, such as 'resnet20', not None"),
        ({"name": ["resnet20"]}, "the name of a network is a string"),
        ({"name": "xyz"}, "list_models\\(\\) has the names"),
        ({"name": "resnet18", "depth": 3}, "resnet18 has no option 'depth'"),
        ({"name": "resnet18", "shortcuts": "A"}, "did you mean 'shortcut'"),
        ({"name": "resnet18", "shortcut": "E"}, "shortcut is one of 'A', 'B', 'C', 'D', 'none', not 'E'"),
        ({"name": "resnet18", "stem": "mnist"}, "stem is one of 'cifar', .*, not 'mnist'"),
        ({"name": "resnet18", "variant": "blog"}, "no variant 'blog': resnext29"),
        ({"name": "vgg16", "stem": "imagenet"}, "vgg16 has one stem, its own"),
        ({"name": "resnet18", "frozen": ("stage5",)}, "frozen has no part \\['stage5'\\]"),
        ({"name": "vgg11", "frozen": ("stem",)}, "frozen has no part \\['stem'\\]"),
        ({"name": "resnet18", "remat": ("stem",)}, "remat has no part \\['stem'\\]"),
        ({"name": "resnet18", "stage_sizes": (1,) * 5}, "5 stages need as many widths, not 4"),
        ({"name": "resnext29_0x4d"}, "at least 1"),
        (
            {"name": "resnet18", "activation": "gelu"},
            "resnet18 has no option 'activation'; did you mean 'act'",
        ),
        ({"name": "vgg11", "act_layer": "gelu"}, "vgg11 has no option 'act_layer'; did you mean 'act'"),
        ({"name": "resnet18", "norm_layer": 1}, "did you mean 'norm'"),
        ({"name": "resnext50_32x4d", "groups": 8}, "did you mean 'cardinality'"),
        ({"name": "resnet18", "classes": 8}, "did you mean 'num_classes'"),
        ({"name": "resnet18", "act": "geluu"}, "no activation is called 'geluu'; did you mean gelu"),
        ({"name": "resnet18", "act": nn.Dense}, "act is a function from an array to an array"),
        ({"name": "resnet18", "stem": "imagnet"}, "did you mean 'imagenet'"),
        ({"name": "resnet18", "shortcut": "b"}, "did you mean 'B'\\?"),
        ({"name": "resnet18", "shortcut_padding": "start"}, "shortcut_padding is one of 'both', 'end'"),
        ({"name": "resnet50", "stride_on": "conv3"}, "stride_on is one of 'conv1', 'conv2', not 'conv3'"),
        ({"name": "resnet18", "block": "bottlenek"}, "did you mean 'bottleneck'"),
        ({"name": "resnet18", "block": nn.Dense}, "a subclass of models.Block"),
        ({"name": "vgg11", "block": "basic"}, "vgg11 has no residual blocks"),
        ({"name": "resnet18", "frozen": 3}, "frozen is 'all' or parts of final, stage1, .*, not 3"),
        ({"name": "resnet18", "frozen": "stage9"}, "frozen has no part \\['stage9'\\]"),
        ({"name": "resnet18", "num_classes": -1}, "num_classes is an integer of at least 0, not -1"),
        ({"name": "resnet18", "num_classes": 2.5}, "num_classes is an integer of at least 0, not 2.5"),
        ({"name": "vgg11", "num_classes": -1}, "num_classes is an integer of at least 0, not -1"),
        ({"name": "mnist_cnn", "num_classes": True}, "num_classes is an integer of at least 0, not True"),
        ({"name": "resnet18", "dtype": "bf16"}, "dtype is a floating-point type, .*, not 'bf16'"),
        ({"name": "resnet18", "dtype": int}, "dtype is a floating-point type"),
        ({"name": "resnet18", "drop_path": 1.5}, "drop_path is a probability of at least 0 and below 1"),
        ({"name": "wrn_16_4", "dropout": -0.1}, "dropout is a probability of at least 0 and below 1"),
        ({"name": "seresnet18", "se_reduction": 65}, "se_reduction=65 leaves nothing of 64 channels"),
        ({"name": "seresnet18", "se_reduction": -1}, "se_reduction is an integer of at least 0"),
        ({"name": "plain20", "zero_init_residual": True}, "cannot learn: leave it out"),
        ({"name": "resnet18", "norm": nn.GroupNorm}, "not flax's GroupNorm: models.GroupNorm is one"),
    ],
)
def test_wrong_arguments_are_refused_with_near_misses(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_model(**arguments)


def test_images_of_the_wrong_shape_are_refused() -> None:
    def trace(name: str, *shape: int) -> None:
        model = create_model(name)
        jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros(shape), train=False))

    with pytest.raises(ValueError, match=r"\(N, H, W, channels\), not of shape \(32, 32, 3\)"):
        trace("resnet20", 32, 32, 3)
    with pytest.raises(ValueError, match="28x28 are too small for this network: pad them to 32x32 or more"):
        trace("vgg16", 1, 28, 28, 1)
    with pytest.raises(ValueError, match="8x8 are too small for this network: pad them to 16x16"):
        trace("mnist_cnn", 1, 8, 8, 1)


def test_list_models_takes_a_pattern() -> None:
    assert list_models("wrn_*") == ["wrn_16_4", "wrn_28_10", "wrn_40_4"]
    names = list_models()
    assert names.index("resnet20") < names.index("resnet110")
    for unlisted in ("resnet62", "wrn_22_8", "resnext29_4x32d", "preact_resnet20", "plain14"):
        assert unlisted not in names
        create_model(unlisted)


def test_a_deep_stem_that_is_not_activated_normalizes_its_first_convolutions() -> None:
    options = {"stem": "imagenet_d", "activate_stem": False, **TINY}
    model = create_model("preact_resnet18", **options)
    images = jnp.zeros((1, 32, 32, 3))
    params = jax.eval_shape(lambda: model.init(jax.random.key(0), images, train=False))["params"]
    stem = {name for name in params if name.startswith("stem")}
    assert stem == {"stem_conv1", "stem_norm1", "stem_conv2", "stem_norm2", "stem_conv3"}


@pytest.mark.parametrize("name", ["mnist_cnn", "mnist_preact_resnet"])
def test_images_of_another_size_than_the_weights_are_one_line(name: str) -> None:
    model = create_model(name)
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 28, 28, 1)), train=False))
    with pytest.raises(ModelError, match="weights are for images of another size than 32x32"):
        jax.eval_shape(lambda v: model.apply(v, jnp.zeros((1, 32, 32, 1)), train=False), variables)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize("options", [{"shortcut": "D"}, {"norm": partial(GroupNorm, num_groups=8)}])
def test_no_dtype_is_promoted(dtype: str, options: dict[str, Any]) -> None:
    model = create_model("resnet20", dtype=dtype, **TINY, **options)
    images = IMAGES.astype(dtype)

    def run() -> Any:
        variables = model.init(jax.random.key(0), images, train=False)
        return model.apply(variables, images, train=True, mutable=["batch_stats"])[0]

    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        assert jax.eval_shape(run).dtype == jnp.float32


def test_average_pools_are_flaxs() -> None:
    for shape in ((2, 8, 8, 3), (2, 7, 5, 3)):
        x = jax.random.normal(jax.random.key(0), shape)
        expected = nn.avg_pool(x, (2, 2), (2, 2), "SAME", count_include_pad=False)
        np.testing.assert_allclose(average_pool(x, 2), expected, rtol=1e-6)
