"""Reference numbers of public PyTorch code in float64, and the calls of this library that must give them.

A reference ``NAME`` is two files. ``NAME.json`` has the input's shape, the trainable parameters' count, the
names and shapes of the ``state_dict``, the settings of SGD, three losses, and the norm of each parameter's
first gradient. ``NAME.npz`` has labels, logits (with running statistics, with those of the batch, and with
running statistics after three steps) and the running statistics after the first training step.

No weights are stored: each is drawn from a generator seeded by its name, so that numpy alone makes them.
"""

import json
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from flax import linen as nn

from jax_resnet.convert import from_torch
from jax_resnet.models import create_model

FOLDER = Path(__file__).parent

# The call of ``create_model`` for each reference.
CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "akamaster_resnet20": ("resnet20", {}),
    "akamaster_resnet56": ("resnet56", {}),
    "kuangliu_preactresnet18": ("preact_resnet18", {"final_norm": False}),
    "kuangliu_resnet18": ("resnet18", {}),
    "kuangliu_resnext29_2x64d": ("resnext29_2x64d", {"variant": "pytorch_cifar"}),
    "kuangliu_vgg16": ("vgg16", {}),
    "seed_000_resnet18": ("resnet18", {}),
    "seed_001_resnet14": ("resnet14", {"shortcut": "B"}),
    "seed_002_mnist_cnn": ("mnist_cnn", {}),
    "seed_002_padded_n5": ("seminar_resnet", {"stage_sizes": (6, 6, 6, 6)}),
    "seed_002_resnet18": ("seminar_resnet", {"stage_sizes": (2, 2, 2, 2)}),
    "seed_003_preact_mnist": ("mnist_preact_resnet", {}),
    "seed_004_resnext50": ("resnext50_32x4d", {"num_classes": 1000, "variant": "blog"}),
    "torchvision_resnet50": ("resnet50", {"num_classes": 1000, "stem": "imagenet"}),
    "torchvision_resnext50_32x4d": ("resnext50_32x4d", {"num_classes": 1000, "stem": "imagenet"}),
}


class Reference(NamedTuple):
    """One reference.

    Attributes:
        meta: ``NAME.json``.
        arrays: ``NAME.npz``.
        state_dict: PyTorch names to float64 weights.
        images: Standard normal, NHWC, float64.
        labels: int64.
    """

    meta: dict[str, Any]
    arrays: dict[str, np.ndarray]
    state_dict: dict[str, np.ndarray]
    images: np.ndarray
    labels: np.ndarray

    def model(self, **overrides: Any) -> nn.Module:
        """The network of this library."""
        name, options = CALLS[self.meta["name"]]
        return create_model(name, **{"num_classes": self.meta["classes"], **options, **overrides})

    def variables(self, model: nn.Module) -> dict[str, Any]:
        """The weights as the network's variables, float64."""
        return from_torch(self.state_dict, model)


def load(name: str) -> Reference:
    """Reads one reference and makes its weights and images."""
    meta = json.loads((FOLDER / f"{name}.json").read_text())
    with np.load(FOLDER / f"{name}.npz") as file:
        arrays = dict(file)
    state_dict = {key: weight(key, tuple(shape)) for key, shape in meta["state_dict"]}
    images = np.random.default_rng(0).standard_normal(meta["input_shape_nchw"]).transpose(0, 2, 3, 1)
    return Reference(meta, arrays, state_dict, images, arrays["labels"])


def weight(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """One entry of a reference's ``state_dict``, a function of its name and shape alone."""
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape)
    noise = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape)
    if key.endswith("running_var"):
        return 1 + 0.1 * np.abs(noise)
    if len(shape) == 4:
        return noise * np.sqrt(2 / np.prod(shape[1:]))
    if len(shape) == 2:
        return noise * np.sqrt(1 / shape[1])
    is_scale = key.endswith(".weight")
    return is_scale + 0.1 * noise


def relative(ours: Any, reference: Any) -> float:
    """Largest difference over the largest reference value."""
    ours, reference = np.asarray(ours, np.float64), np.asarray(reference, np.float64)
    return float(np.abs(ours - reference).max() / np.abs(reference).max())
