"""Folding BatchNorm into convolutions, and re-estimating its statistics."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from jax_resnet.averaging import reestimate_batch_stats
from jax_resnet.errors import ModelError
from jax_resnet.models import create_model, fold_batch_norm
from tests.helpers import quick

TINY: dict[str, Any] = {"stage_sizes": (1, 2), "widths": (16, 32)}
IMAGES = jax.random.normal(jax.random.key(7), (4, 8, 8, 3))

FOLDED = {
    "basic": ("resnet20", {}),
    "biased": ("seminar_resnet", {}),
    "bottleneck_d": ("resnet50", {"shortcut": "D", "stem": "imagenet_d"}),
    "preact": ("preact_resnet18", {}),
    "preact_activated_stem": ("preact_resnet164", {}),
    "grouped": ("resnext29_8x64d", {"base_width": 4}),
    "se": ("seresnet18", {}),
    "vgg": ("vgg11", {}),
    "mnist": ("mnist_preact_resnet", {}),
    "whitened": ("whitened_resnet8", {}),
    "loops": ("resnet20", {"scan_layers": True, "stage_sizes": (3, 2)}),
}


def trained(model: Any) -> Any:
    """Variables as after training."""
    return quick.trained(model, IMAGES.shape[1:])


def evaluate(model: Any, variables: Any) -> np.ndarray:
    return np.asarray(quick.jit(lambda v: model.apply(v, IMAGES, train=False))(variables))


@pytest.mark.parametrize("case", FOLDED)
def test_folding_keeps_the_logits(case: str) -> None:
    name, options = FOLDED[case]
    tiny = {"widths": (16, 32)} if case == "whitened" else TINY
    model = create_model(name, **{**tiny, **options})
    variables = trained(model)
    folded, folded_variables = fold_batch_norm(model, variables)
    expected = evaluate(model, variables)
    np.testing.assert_allclose(
        evaluate(folded, folded_variables) / np.abs(expected).max(),
        expected / np.abs(expected).max(),
        atol=1e-5,
    )
    wanted = jax.eval_shape(lambda: folded.init(jax.random.key(0), IMAGES, train=False))
    assert {p: x.shape for p, x in flatten_dict(folded_variables).items()} == {
        p: x.shape for p, x in flatten_dict(wanted).items()
    }
    norms = {path[:-1] for path in flatten_dict(folded_variables["batch_stats"])}
    if "preact" in name:
        assert {path[-1] for path in norms} <= {"norm1", "final_norm"}
    else:
        assert not norms
    with pytest.raises(ValueError, match="folded already"):
        fold_batch_norm(folded, folded_variables)


def test_kernels_have_the_computation_type_where_it_is_smaller() -> None:
    model = create_model("resnet20", **TINY, dtype=jnp.bfloat16)
    variables = trained(model)
    folded, narrow = fold_batch_norm(model, variables)
    kernels = {path: v.dtype for path, v in flatten_dict(narrow["params"]).items() if path[-1] == "kernel"}
    head = kernels.pop(("head", "kernel"))
    assert (head, set(kernels.values())) == (jnp.float32, {jnp.dtype(jnp.bfloat16)})
    # The same numbers that every call would round them to.
    wide = jax.tree.map(
        lambda v: v.astype(jnp.float32), fold_batch_norm(model.clone(dtype=jnp.float32), variables)[1]
    )
    assert np.array_equal(evaluate(folded, narrow), evaluate(folded, wide))


def test_folding_needs_batch_norm() -> None:
    with pytest.raises(ValueError, match="MnistCNN has no BatchNorm to fold"):
        fold_batch_norm(create_model("mnist_cnn"), {})


def test_reestimation_is_the_exact_average() -> None:
    model = create_model("resnet20", **TINY, frozen=("stage2",))
    variables = trained(model)
    batches = [
        np.asarray(jax.random.normal(jax.random.key(i), (n, 8, 8, 3))) * (i + 1)
        for i, n in enumerate((6, 6, 3))
    ]
    new = reestimate_batch_stats(model, variables, batches)
    assert new["params"] is variables["params"]

    # The stem's statistics, by hand: those of the convolution's output.
    kernel = variables["params"]["stem_conv"]["kernel"]
    outputs = [
        np.asarray(
            jax.lax.conv_general_dilated(
                x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            ),
            np.float64,
        )
        for x in batches
    ]
    weights = np.array([6, 6, 3]) / 15
    mean = sum(w * y.mean((0, 1, 2)) for w, y in zip(weights, outputs, strict=True))
    var = sum(w * y.var((0, 1, 2), ddof=1) for w, y in zip(weights, outputs, strict=True))
    np.testing.assert_allclose(new["batch_stats"]["stem_norm"]["mean"], mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(new["batch_stats"]["stem_norm"]["var"], var, rtol=1e-5)

    # Frozen layers keep theirs to the bit.
    jax.tree.map(
        np.testing.assert_array_equal,
        new["batch_stats"]["stage2_block1"],
        variables["batch_stats"]["stage2_block1"],
    )
    again = reestimate_batch_stats(model, new, reversed(batches))
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(new), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_reestimation_with_dropout_and_its_errors() -> None:
    model = create_model("wrn_16_4", stage_sizes=(2,), widths=(16,), dropout=0.3)
    variables = trained(model)
    first = reestimate_batch_stats(model, variables, [IMAGES])
    other = reestimate_batch_stats(model, variables, [IMAGES], key=jax.random.key(5))
    last = ("stage1_block2", "norm2", "mean")
    assert not np.allclose(flatten_dict(first["batch_stats"])[last], flatten_dict(other["batch_stats"])[last])
    for nothing in ([], [IMAGES[:0]]):
        with pytest.raises(ValueError, match="no images"):
            reestimate_batch_stats(model, variables, nothing)
    with pytest.raises(ValueError, match="MnistCNN has no BatchNorm"):
        reestimate_batch_stats(create_model("mnist_cnn"), {}, [IMAGES])


def test_reestimation_is_update_bn() -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    from experiments.bench.torch_networks import TorchResNet
    from jax_resnet.convert import from_torch

    module = TorchResNet(**TINY, block="basic", shortcut="A")
    variables = from_torch(module.state_dict(), create_model("resnet20", **TINY))
    batches = [np.asarray(jax.random.normal(jax.random.key(i), (4, 8, 8, 3))) for i in range(3)]
    torch.optim.swa_utils.update_bn(
        [torch.from_numpy(b.transpose(0, 3, 1, 2).copy()) for b in batches], module
    )
    model = create_model("resnet20", **TINY)
    ours = reestimate_batch_stats(model, variables, batches)
    expected = from_torch(module.state_dict(), model)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), ours, expected)


def test_a_max_pool_between_convolution_and_norm_folds_only_positive_scales() -> None:
    model = create_model("whitened_resnet8", widths=(16, 32))
    variables = trained(model)
    variables["params"]["stage1_norm1"]["scale"] = -variables["params"]["stage1_norm1"]["scale"]
    with pytest.raises(ModelError, match=r"stage1_norm1.*max-pool.*not positive"):
        fold_batch_norm(model, variables)
