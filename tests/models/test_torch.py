"""Forward and backward against PyTorch, live, in float64: every kind of block, and whole networks."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_resnet.convert import from_torch, to_torch
from jax_resnet.models import create_model

torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
from experiments.bench.torch_networks import TorchResNet, TorchVGG  # noqa: E402

SMALL = {"stage_sizes": (1, 2), "widths": (64, 128)}
NARROW = {"stage_sizes": (1, 2), "widths": (16, 32)}
BASIC, BOTTLENECK = {"block": "basic"}, {"block": "bottleneck"}
PREACT = {"preactivation": True}

# The network here, the options that make a small one of it (which PyTorch's takes too), and further
# options of PyTorch's network.
BLOCKS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "basic_A": ("resnet20", NARROW, {**BASIC, "shortcut": "A"}),
    "basic_A_padded_at_the_end": (
        "seminar_resnet",
        NARROW,
        {**BASIC, "shortcut": "A", "shortcut_padding": "end", "use_bias": True},
    ),
    "basic_B": ("resnet20", {**NARROW, "shortcut": "B"}, BASIC),
    "basic_C": ("resnet20", {**NARROW, "shortcut": "C"}, BASIC),
    "basic_D": ("resnet20", {**NARROW, "shortcut": "D"}, BASIC),
    "plain": ("plain20", NARROW, {**BASIC, "shortcut": "none"}),
    "bottleneck_B": ("resnet50", SMALL, BOTTLENECK),
    "bottleneck_C": ("resnet50", {**SMALL, "shortcut": "C"}, BOTTLENECK),
    "bottleneck_stride_first": ("resnet50", {**SMALL, "stride_on": "conv1"}, BOTTLENECK),
    "bottleneck_d": ("resnet50", {**SMALL, "shortcut": "D", "stem": "imagenet_d"}, BOTTLENECK),
    "preact_basic": ("preact_resnet18", SMALL, {**BASIC, **PREACT}),
    "preact_basic_A": (
        "preact_resnet110",
        NARROW,
        {**BASIC, **PREACT, "activate_stem": True, "shortcut": "A"},
    ),
    "preact_bottleneck": ("preact_resnet50", SMALL, {**BOTTLENECK, **PREACT}),
    "preact_bottleneck_activated_stem": (
        "preact_resnet164",
        NARROW,
        {**BOTTLENECK, **PREACT, "activate_stem": True},
    ),
    "no_final_norm": ("preact_resnet18", {**SMALL, "final_norm": False}, {**BASIC, **PREACT}),
    "preact_imagenet": (
        "preact_resnet18",
        {**SMALL, "stem": "imagenet"},
        {**BASIC, **PREACT, "activate_stem": True},
    ),
    "wide": (
        "wrn_16_4",
        {},
        {**BASIC, **PREACT, "stage_sizes": (2, 2, 2), "widths": (64, 128, 256), "stem_width": 16},
    ),
    "grouped": ("resnext29_8x64d", {**SMALL, "base_width": 4}, {**BOTTLENECK, "cardinality": 8}),
    "grouped_blog": (
        "resnext50_32x4d",
        {**SMALL, "variant": "blog"},
        {
            **BOTTLENECK,
            "cardinality": 32,
            "base_width": 4,
            "stem": "imagenet_blog",
            "use_bias": True,
            "shortcut": "C",
            "stride_on": "conv1",
        },
    ),
    "se_basic": ("seresnet18", SMALL, {**BASIC, "se_reduction": 16}),
    "se_bottleneck": ("seresnet50", SMALL, {**BOTTLENECK, "se_reduction": 16}),
    "se_preact": ("seresnet18", {**SMALL, **PREACT}, {**BASIC, "se_reduction": 16}),
}

IMAGENET = {"stem": "imagenet"}
NETWORKS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "resnet32": ("resnet32", {}, {**BASIC, "stage_sizes": (5,) * 3, "widths": (16, 32, 64), "shortcut": "A"}),
    "resnet110": (
        "resnet110",
        {},
        {**BASIC, "stage_sizes": (18,) * 3, "widths": (16, 32, 64), "shortcut": "A"},
    ),
    "resnet34": ("resnet34", IMAGENET, {**BASIC, "stage_sizes": (3, 4, 6, 3)}),
    "resnet101": ("resnet101", IMAGENET, {**BOTTLENECK, "stage_sizes": (3, 4, 23, 3)}),
    "preact_resnet50": ("preact_resnet50", {}, {**BOTTLENECK, **PREACT, "stage_sizes": (3, 4, 6, 3)}),
    "resnext29_32x4d": (
        "resnext29_32x4d",
        {},
        {**BOTTLENECK, "stage_sizes": (3, 3, 3), "cardinality": 32, "base_width": 4},
    ),
    "wide_resnet50_2": (
        "wide_resnet50_2",
        IMAGENET,
        {**BOTTLENECK, "stage_sizes": (3, 4, 6, 3), "base_width": 128},
    ),
    "resnext101_32x8d": (
        "resnext101_32x8d",
        IMAGENET,
        {**BOTTLENECK, "stage_sizes": (3, 4, 23, 3), "cardinality": 32, "base_width": 8},
    ),
    "resnet50_d": (
        "resnet50",
        {"stem": "imagenet_d", "shortcut": "D"},
        {**BOTTLENECK, "stage_sizes": (3, 4, 6, 3)},
    ),
}


def randomize(module: Any) -> None:
    """Statistics, scales and biases unlike their initial values."""
    generator = torch.Generator().manual_seed(0)
    for key, value in module.state_dict().items():
        if value.ndim == 1:
            noise = 0.1 * torch.randn(value.shape, generator=generator, dtype=value.dtype)
            value.copy_(1 + noise.abs() if key.endswith(("weight", "running_var")) else noise)


def compare(model: Any, module: Any, style: str, size: int, tolerance: float) -> None:
    """Logits in evaluation and training, running statistics, and every gradient."""
    torch.manual_seed(0)
    module = module.double()
    randomize(module)
    rng = np.random.default_rng(0)
    images, labels = rng.standard_normal((4, size, size, 3)), rng.integers(0, 10, 4)
    torch_images = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    variables = from_torch(module.state_dict(), model, style=style)

    module.eval()
    expected_eval = module(torch_images).detach().numpy()
    module.train()
    logits = module(torch_images)
    torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels)).backward()
    expected_grads = {key: p.grad.numpy() for key, p in module.named_parameters()}

    @jax.jit
    def run(variables: Any) -> Any:
        def loss(params: Any) -> Any:
            logits, updated = model.apply(
                {**variables, "params": params}, images, train=True, mutable=["batch_stats"]
            )
            picked = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1)
            return -picked.mean(), (logits, updated)

        grads, (trained, updated) = jax.grad(loss, has_aux=True)(variables["params"])
        return model.apply(variables, images, train=False), trained, updated["batch_stats"], grads

    evaluated, trained, stats, grads = run(variables)
    close = {"rtol": 0, "atol": tolerance}
    np.testing.assert_allclose(evaluated, expected_eval, **close)
    np.testing.assert_allclose(trained, logits.detach().numpy(), **close)
    ours = to_torch({"params": grads, "batch_stats": stats}, model, style)
    for key, value in module.state_dict().items():
        expected = expected_grads.get(key)
        if expected is not None:
            scale = max(1.0, np.abs(expected).max())
            np.testing.assert_allclose(ours[key] / scale, expected / scale, **close, err_msg=key)
        elif not key.endswith("num_batches_tracked"):
            np.testing.assert_allclose(ours[key], value.numpy(), **close, err_msg=key)


@pytest.mark.parametrize("case", BLOCKS)
def test_block(case: str) -> None:
    name, options, more = BLOCKS[case]
    module = TorchResNet(**{**more, **{key: value for key, value in options.items() if key != "variant"}})
    with jax.enable_x64(True):
        compare(create_model(name, dtype=jnp.float64, **options), module, "pytorch_cifar", 9, 1e-10)


def test_vgg() -> None:
    sizes, widths = (1, 2), (8, 16)
    model = create_model("vgg11", stage_sizes=sizes, widths=widths)
    with jax.enable_x64(True):
        compare(model.clone(dtype=jnp.float64), TorchVGG(sizes, widths), "pytorch_cifar", 9, 1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("case", NETWORKS)
def test_network(case: str) -> None:
    name, options, more = NETWORKS[case]
    module = TorchResNet(**more, **options)
    size = 32 if options.get("stem") else 8
    with jax.enable_x64(True):
        compare(create_model(name, dtype=jnp.float64, **options), module, "pytorch_cifar", size, 1e-6)
