"""What PyTorch code bases call the layers that this library has, as tables of rules."""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache, partial

from flax import linen as nn

from jax_resnet._text import did_you_mean
from jax_resnet.errors import WeightsError

__all__ = ["LEAVES", "STYLES", "check_style", "torch_key"]

# A pattern for the path of one of our layers, and the PyTorch module it is, given the numbers in the path.
# Stages, blocks and layers count from 1 here; PyTorch's ``nn.Sequential`` counts from 0.
Rule = tuple[str, Callable[..., str]]

BLOCK = r"stage(\d+)_block(\d+)"

# Networks of which there is one public form only. The path is prefixed by the network's class.
ONE_FORM: tuple[Rule, ...] = (
    # Every convolution of a VGG is followed by BatchNorm and ReLU, every stage by a pool.
    (r"VGG/stage(\d+)_conv(\d+)", lambda s, n: f"features.{3 * (n - 1) + s - 1}"),
    (r"VGG/stage(\d+)_norm(\d+)", lambda s, n: f"features.{3 * (n - 1) + s}"),
    (r"VGG/head", lambda: "classifier"),
    (r"MnistCNN/conv(\d+)", lambda n: f"conv{n}"),
    (r"MnistCNN/dense(\d+)", lambda n: f"fc{n}"),
    (r"MnistCNN/head", lambda: "fc3"),
    (rf"MnistPreActResNet/{BLOCK}/conv(\d+)", lambda s, b, n: f"res{s}.{b - 1}.conv{n}"),
    (rf"MnistPreActResNet/{BLOCK}/norm(\d+)", lambda s, b, n: f"res{s}.{b - 1}.bn{n}"),
    (rf"MnistPreActResNet/{BLOCK}/shortcut_conv", lambda s, b: f"res{s}.{b - 1}.identity"),
    (r"MnistPreActResNet/dense(\d+)", lambda n: f"dense{n}"),
    (r"MnistPreActResNet/head", lambda: "dense2"),
    # airbench94: the activation is layer 0 of its nn.Sequential.
    (r"WhitenedResNet/stem_conv", lambda: "whiten"),
    (r"WhitenedResNet/stage(\d+)_(conv|norm)(\d+)", lambda s, kind, n: f"layers.{s}.{kind}{n}"),
    (r"WhitenedResNet/head", lambda: "head"),
)

PYTORCH_CIFAR: tuple[Rule, ...] = (
    (r"stem_conv", lambda: "conv1"),
    (r"stem_norm", lambda: "bn1"),
    (r"stem_conv3", lambda: "conv1.6"),
    (r"stem_norm3", lambda: "bn1"),
    (r"stem_conv(\d+)", lambda n: f"conv1.{3 * (n - 1)}"),
    (r"stem_norm(\d+)", lambda n: f"conv1.{3 * (n - 1) + 1}"),
    (rf"{BLOCK}/conv(\d+)", lambda s, b, n: f"layer{s}.{b - 1}.conv{n}"),
    (rf"{BLOCK}/norm(\d+)", lambda s, b, n: f"layer{s}.{b - 1}.bn{n}"),
    (rf"{BLOCK}/shortcut_conv", lambda s, b: f"layer{s}.{b - 1}.shortcut.0"),
    (rf"{BLOCK}/shortcut_norm", lambda s, b: f"layer{s}.{b - 1}.shortcut.1"),
    (rf"{BLOCK}/se/reduce", lambda s, b: f"layer{s}.{b - 1}.fc1"),
    (rf"{BLOCK}/se/expand", lambda s, b: f"layer{s}.{b - 1}.fc2"),
    (r"final_norm", lambda: "bn"),
    (r"head", lambda: "linear"),
)

TORCHVISION: tuple[Rule, ...] = (
    # The average pool of shortcut D is layer 0 of its nn.Sequential.
    (rf"ResNetD/{BLOCK}/shortcut_conv", lambda s, b: f"layer{s}.{b - 1}.downsample.1"),
    (rf"ResNetD/{BLOCK}/shortcut_norm", lambda s, b: f"layer{s}.{b - 1}.downsample.2"),
    (rf"{BLOCK}/shortcut_conv", lambda s, b: f"layer{s}.{b - 1}.downsample.0"),
    (rf"{BLOCK}/shortcut_norm", lambda s, b: f"layer{s}.{b - 1}.downsample.1"),
    (rf"{BLOCK}/se/reduce", lambda s, b: f"layer{s}.{b - 1}.se.fc1"),
    (rf"{BLOCK}/se/expand", lambda s, b: f"layer{s}.{b - 1}.se.fc2"),
    (r"head", lambda: "fc"),
    *PYTORCH_CIFAR,
)

SEMINAR: tuple[Rule, ...] = ((r"stem_norm", lambda: "norm1"), *PYTORCH_CIFAR)

BLOG: tuple[Rule, ...] = (
    (r"stem_conv", lambda: "conv1.0"),
    (r"stem_norm", lambda: "conv1.1"),
    (rf"{BLOCK}/conv(\d+)", lambda s, b, n: f"conv{s + 1}.{b - 1}.block.{3 * (n - 1)}"),
    (rf"{BLOCK}/norm(\d+)", lambda s, b, n: f"conv{s + 1}.{b - 1}.block.{3 * (n - 1) + 1}"),
    (rf"{BLOCK}/shortcut_conv", lambda s, b: f"conv{s + 1}.{b - 1}.changedim.0"),
    (rf"{BLOCK}/shortcut_norm", lambda s, b: f"conv{s + 1}.{b - 1}.changedim.1"),
    (r"head", lambda: "classifer"),  # spelled so there
    *PYTORCH_CIFAR,
)

# In the order in which they are tried. akamaster/pytorch_resnet_cifar10 names its layers as kuangliu's
# pytorch-cifar does, timm as torchvision does.
STYLES: Mapping[str, tuple[Rule, ...]] = {
    "torchvision": TORCHVISION,
    "timm": TORCHVISION,
    "pytorch_cifar": PYTORCH_CIFAR,
    "akamaster": PYTORCH_CIFAR,
    "seminar": SEMINAR,
    "blog": BLOG,
}

LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


def torch_key(path: tuple[str, ...], model: nn.Module, style: str) -> str:
    """The PyTorch name of one of our arrays.

    Args:
        path: Where the array is in its collection: ("stage1_block1", "conv1", "kernel").
        model: The network.
        style: A key of ``STYLES``.
    """
    network = type(model).__name__
    if isinstance(block := getattr(model, "block", None), partial) and block.keywords.get("shortcut") == "D":
        network += "D"
    *layer, leaf = path
    return f"{_torch_module('/'.join(layer), network, style)}.{LEAVES[leaf]}"


@lru_cache(2**16)
def _torch_module(path: str, network: str, style: str) -> str:
    for pattern, name in (*ONE_FORM, *STYLES[style]):
        subject = f"{network}/{path}" if pattern[0].isupper() else path
        if match := re.fullmatch(pattern, subject):
            return name(*(int(part) if part.isdigit() else part for part in match.groups()))
    raise WeightsError(f"no PyTorch name is known for {path} of {network} in style {style!r}")


def check_style(style: str) -> str:
    """The key of ``STYLES`` for a name in upper or lower case, with "-" or "_": "pytorch-cifar".

    Raises:
        WeightsError: There is none; the message has the nearest.
    """
    name = style.lower().replace("-", "_")
    if name not in STYLES:
        near = did_you_mean(name, map(repr, STYLES), count=1)
        hint = f"; {near}" if near else ""
        raise WeightsError(f"style is one of {', '.join(map(repr, STYLES))}, not {style!r}{hint}")
    return name
