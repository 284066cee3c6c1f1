"""The network meets every reference: in float32 within its tolerances, in float64 to the last digits."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from tests.golden.references import CALLS, load, relative
from tests.golden.trajectory import Trajectory, follow

# Networks that take long to compile, or resemble another; seed_000 is kuangliu's once more.
SLOW = {
    "akamaster_resnet56",
    "kuangliu_resnext29_2x64d",
    "kuangliu_vgg16",
    "seed_000_resnet18",
    "seed_001_resnet14",
    "seed_002_padded_n5",
    "seed_004_resnext50",
    "torchvision_resnet50",
    "torchvision_resnext50_32x4d",
}
FLOAT64_ALWAYS = {"seed_002_mnist_cnn"}

# The tolerances of float32.
LIMITS = {
    "eval_logits": 1e-4,
    "train_logits": 1e-4,
    "stats": 1e-4,
    "grad_norms": 1e-2,
    "loss 0": 1e-4,
    "loss 1": 2e-2,
    "loss 2": 1e-1,
}

# Where PyTorch's own float32 misses them too, or not, by its number of threads and the layout of its images;
# its range in four such runs stands beside. Normalized at the end by 16 numbers a channel, fifty
# layers multiply rounding until some activations change sign, and each of these moves the gradient.
EXCEPTIONS = {
    "seed_002_padded_n5": {"grad_norms": 2e-2},  # 3e-3 to 1e-2
    "seed_004_resnext50": {
        "train_logits": 1e-3,  # 2e-4 to 5e-4
        "grad_norms": 5e-2,  # 9e-3 to 2e-2
        "loss 1": 5e-2,  # 1e-3 to 2e-2
        "loss 2": 2e-1,  # 5e-3 to 1e-1
    },
    "torchvision_resnet50": {
        "grad_norms": 5e-2,  # 2e-3 to 5e-3, seldom 2e-2
        "loss 1": 2e-1,  # 2e-2 to 4e-2, seldom 1e-1
        "loss 2": 5e-1,  # 4e-2 to 4e-1
    },
    "torchvision_resnext50_32x4d": {"loss 1": 1e-1, "loss 2": 3e-1},  # 3e-2 to 5e-2; 4e-2 to 2e-1
}


def names(slow: Any) -> list[Any]:
    return [pytest.param(name, marks=pytest.mark.slow) if slow(name) else name for name in CALLS]


def deviations(run: Trajectory, reference: Any) -> dict[str, Any]:
    meta, arrays = reference.meta, reference.arrays
    stats = {key: value for key, value in arrays.items() if key.startswith("stats/")}
    assert run.stats.keys() == stats.keys()
    assert run.grad_norms.keys() == meta["grad_norms_step0"].keys()
    norms = {key: norm for key, norm in meta["grad_norms_step0"].items() if norm > 1e-6}
    return {
        "eval_logits": relative(run.eval_logits, arrays["eval_logits"]),
        "train_logits": relative(run.train_logits, arrays["train_logits_step0"]),
        "stats": max((relative(run.stats[key], value) for key, value in stats.items()), default=0.0),
        "grad_norms": max(abs(run.grad_norms[key] / norm - 1) for key, norm in norms.items()),
        **{f"loss {i}": abs(run.losses[i] / loss - 1) for i, loss in enumerate(meta["losses"])},
        "final_logits": relative(run.final_logits, arrays["eval_logits_final"]),
    }


@pytest.mark.parametrize("name", names(lambda name: name in SLOW))
def test_float32(name: str) -> None:
    reference = load(name)
    run = follow(reference, jnp.float32)
    assert run.parameters == reference.meta["parameters"]
    found = deviations(run, reference)
    limits = {**LIMITS, **EXCEPTIONS.get(name, {})}
    assert {key: found[key] for key, limit in limits.items() if found[key] > limit} == {}


@pytest.mark.parametrize("name", names(lambda name: name not in FLOAT64_ALWAYS))
def test_float64(name: str) -> None:
    reference = load(name)
    with jax.enable_x64(True):
        found = deviations(follow(reference, jnp.float64), reference)
    # The rounding of float64, 2e-16, grows through the layers and over the steps as float32's does.
    assert found["eval_logits"] < 1e-12
    assert found["train_logits"] < 1e-10
    assert found["stats"] < 1e-10
    assert found["grad_norms"] < 1e-8
    assert max(found[f"loss {i}"] for i in range(3)) < 1e-7
    assert found["final_logits"] < 1e-6
