"""Every network by name. A network is a row of data, which ``create_model`` builds."""

import difflib
import fnmatch
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from flax import linen as nn

from jax_resnet._text import natural
from jax_resnet.errors import ModelError
from jax_resnet.models.blocks import BasicBlock, BottleneckBlock
from jax_resnet.models.limits import MAX_CHANNELS, MAX_LAYERS
from jax_resnet.models.mnist import MnistCNN, MnistPreActResNet
from jax_resnet.models.resnet import ResNet
from jax_resnet.models.vgg import VGG
from jax_resnet.models.whitened import WhitenedResNet

__all__ = ["Row", "find", "list_models", "stem_options", "usual_image_shape", "variant_options"]


class Row(NamedTuple):
    """One network.

    Attributes:
        network: Its module class.
        options: Fields of the class, and of the block.
        paper: The publication that describes the network.
        block: The residual block, where the network has one.
        image_shape: ``(height, width, channels)`` of the images it was made for.
    """

    network: type[nn.Module]
    options: Mapping[str, Any]
    paper: str
    block: type[nn.Module] | None = None
    image_shape: tuple[int, int, int] = (32, 32, 3)


RESNET = "He et al. 2015, Deep residual learning for image recognition"
PREACT = "He et al. 2016, Identity mappings in deep residual networks"
RESNEXT = "Xie et al. 2017, Aggregated residual transformations for deep neural networks"
WIDE = "Zagoruyko and Komodakis 2016, Wide residual networks"
SE = "Hu et al. 2018, Squeeze-and-excitation networks"
AIRBENCH = "Jordan 2024, 94% on CIFAR-10 in 3.29 seconds on a single GPU"
VGG_PAPER = "Simonyan and Zisserman 2015, Very deep convolutional networks, with BatchNorm"

CIFAR_WIDTHS = (16, 32, 64)
IMAGENET_STAGES = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (BottleneckBlock, (3, 4, 6, 3)),
    101: (BottleneckBlock, (3, 4, 23, 3)),
    152: (BottleneckBlock, (3, 8, 36, 3)),
}


def imagenet_row(depth: int, paper: str, **options: Any) -> Row:
    """A four-stage network of one of the depths in He et al. 2015, table 1."""
    block, stage_sizes = IMAGENET_STAGES[depth]
    return Row(ResNet, {"stage_sizes": stage_sizes, **options}, paper, block)


def cifar_row(depth: int, paper: str, block: type[nn.Module] = BasicBlock, **options: Any) -> Row | None:
    """A three-stage network of He et al. 2015, section 4.2; None where no such network has the depth."""
    layers_per_unit = 6 if block is BasicBlock else 9
    units, rest = divmod(depth - 2, layers_per_unit)
    if rest or units < 1:
        return None
    return Row(ResNet, {"stage_sizes": (units,) * 3, "widths": CIFAR_WIDTHS, **options}, paper, block)


def wide_row(depth: int, widen: int) -> Row | None:
    """WRN-depth-widen of Zagoruyko and Komodakis 2016, table 1; None where there is no such network."""
    units, rest = divmod(depth - 4, 6)
    if rest or units < 1 or widen < 1:
        return None
    widths = tuple(width * widen for width in CIFAR_WIDTHS)
    options = {"stage_sizes": (units,) * 3, "widths": widths, "stem_width": 16, "preactivation": True}
    return Row(ResNet, options, WIDE, BasicBlock)


def resnext29_row(cardinality: int, base_width: int) -> Row | None:
    """ResNeXt-29, C x W d, of Xie et al. 2017, section 5.3."""
    if cardinality < 1 or base_width < 1:
        return None
    options = {"stage_sizes": (3, 3, 3), "cardinality": cardinality, "base_width": base_width}
    return Row(ResNet, options, RESNEXT, BottleneckBlock)


NAMED: dict[str, Row] = {
    **{f"resnet{depth}": imagenet_row(depth, RESNET) for depth in IMAGENET_STAGES},
    **{f"plain{depth}": imagenet_row(depth, RESNET, shortcut="none") for depth in (18, 34)},
    **{f"preact_resnet{depth}": imagenet_row(depth, PREACT, preactivation=True) for depth in IMAGENET_STAGES},
    "resnext50_32x4d": imagenet_row(50, RESNEXT, cardinality=32, base_width=4),
    "resnext101_32x4d": imagenet_row(101, RESNEXT, cardinality=32, base_width=4),
    "resnext101_32x8d": imagenet_row(101, RESNEXT, cardinality=32, base_width=8),
    "resnext101_64x4d": imagenet_row(101, RESNEXT, cardinality=64, base_width=4),
    "wide_resnet50_2": imagenet_row(50, WIDE, base_width=128),
    "wide_resnet101_2": imagenet_row(101, WIDE, base_width=128),
    "seresnet18": imagenet_row(18, SE, se_reduction=16),
    "seresnet50": imagenet_row(50, SE, se_reduction=16),
    "vgg11": Row(VGG, {"stage_sizes": (1, 1, 2, 2, 2)}, VGG_PAPER),
    "vgg13": Row(VGG, {"stage_sizes": (2, 2, 2, 2, 2)}, VGG_PAPER),
    "vgg16": Row(VGG, {"stage_sizes": (2, 2, 3, 3, 3)}, VGG_PAPER),
    "vgg19": Row(VGG, {"stage_sizes": (2, 2, 4, 4, 4)}, VGG_PAPER),
    "mnist_cnn": Row(MnistCNN, {}, "LeCun et al. 1998, after LeNet-5", image_shape=(28, 28, 1)),
    "mnist_preact_resnet": Row(MnistPreActResNet, {}, f"{PREACT}, at MNIST's size", image_shape=(28, 28, 1)),
    "airbench94": Row(WhitenedResNet, {"residual": False}, AIRBENCH),
    "airbench95": Row(WhitenedResNet, {"residual": False, "widths": (128, 384, 384)}, AIRBENCH),
    "whitened_resnet8": Row(WhitenedResNet, {}, f"{AIRBENCH}, with shortcuts"),
    "seminar_resnet": Row(
        ResNet,
        {
            "stage_sizes": (2, 2, 2, 2),
            "widths": (16, 32, 64, 128),
            "shortcut": "A",
            "shortcut_padding": "end",
            "use_bias": True,
        },
        f"{RESNET}, as a seminar's four-stage variant",
        BasicBlock,
    ),
}


def preact_cifar_row(depth: int) -> Row | None:
    """The CIFAR networks of He et al. 2016: bottlenecks from 164 layers on, basic blocks below."""
    if depth in (164, 1001):
        return cifar_row(depth, PREACT, BottleneckBlock, preactivation=True, activate_stem=True)
    return cifar_row(depth, PREACT, preactivation=True, activate_stem=True, shortcut="A")


# Names with numbers in them: a pattern, the row they make (None where no such network exists), the rule
# that the numbers obey, and the members that are listed.
PATTERNS: list[tuple[str, Callable[..., Row | None], str, tuple[str, ...]]] = [
    (
        r"resnet(\d+)",
        lambda depth: cifar_row(depth, RESNET, shortcut="A"),
        "a CIFAR ResNet has 6n+2 layers",
        ("resnet14", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "resnet1202"),
    ),
    (
        r"plain(\d+)",
        lambda depth: cifar_row(depth, RESNET, shortcut="none"),
        "a plain CIFAR network has 6n+2 layers",
        ("plain20", "plain32", "plain44", "plain56", "plain110"),
    ),
    (
        r"preact_resnet(\d+)",
        preact_cifar_row,
        "a pre-activation CIFAR ResNet has 6n+2 layers, or 164 or 1001",
        ("preact_resnet110", "preact_resnet164", "preact_resnet1001"),
    ),
    (
        r"resnext29_(\d+)x(\d+)d",
        resnext29_row,
        "cardinality and width of a ResNeXt-29 are at least 1",
        ("resnext29_8x64d", "resnext29_16x64d", "resnext29_32x4d", "resnext29_2x64d"),
    ),
    (
        r"wrn_(\d+)_(\d+)",
        wide_row,
        "a wide ResNet has 6n+4 layers",
        ("wrn_16_4", "wrn_28_10", "wrn_40_4"),
    ),
]


def list_models(pattern: str = "*") -> list[str]:
    """Names of the networks that match a shell pattern, in order; numbered families by their usual members.

    Any other member works too: ``create_model("resnet62")``, ``"wrn_22_8"``, ``"resnext29_4x32d"``.
    """
    names = {*NAMED, *(name for *_, listed in PATTERNS for name in listed)}
    return sorted(fnmatch.filter(names, pattern), key=natural)


def find(name: str) -> Row:
    """The row of a network.

    Raises:
        ModelError: No network has the name; the message has near misses. Or its numbers are above a cap.
    """
    if not isinstance(name, str):
        raise ModelError(f"the name of a network is a string, such as 'resnet20', not {name!r}")
    if name in NAMED:
        return NAMED[name]
    for pattern, make, rule, _ in PATTERNS:
        if match := re.fullmatch(pattern, name, re.ASCII):
            numbers = _read_numbers(name, match.groups())
            if row := make(*numbers):
                return row
            near = _neighbors(name, numbers, make)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise ModelError(f"no network is called {name!r}: {rule}{hint}")
    near = difflib.get_close_matches(name.lower(), list_models(), n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(near)}?" if near else "; list_models() has the names"
    raise ModelError(f"no network is called {name!r}{hint}")


def _read_numbers(name: str, digits: tuple[str, ...]) -> list[int]:
    """The numbers in a name, the first its layers where there is a rule for them.

    Raises:
        ModelError: One has leading zeros, or no network of such numbers can be built.
    """
    if any(number != "0" and number.startswith("0") for number in digits):
        plain = re.sub(r"(?<!\d)0+(?=\d)", "", name)
        raise ModelError(f"no network is called {name!r}; did you mean {plain}?")
    cap = MAX_CHANNELS if name.startswith("resnext29") else MAX_LAYERS
    # Compared by their length first: int() refuses thousands of digits.
    if any(len(number) > len(str(cap)) or int(number) > cap for number in digits):
        kind = "channels per convolution" if name.startswith("resnext29") else "layers"
        raise ModelError(f"{name[:40]!r} is above the cap of {cap:,} {kind}")
    return [int(number) for number in digits]


def _neighbors(name: str, numbers: list[int], make: Callable[..., Row | None]) -> list[str]:
    """The names of the next smaller and the next larger network of a family."""
    depth, *rest = numbers
    candidates = (range(depth - 1, max(depth - 12, 0), -1), range(depth + 1, depth + 12))
    near = (next((d for d in depths if make(d, *rest)), None) for depths in candidates)
    return [name.replace(str(depth), str(d), 1) for d in near if d]


def usual_image_shape(name: str, stem: str = "cifar") -> tuple[int, int, int]:
    """``(height, width, channels)`` of the images that a network with a stem was made for."""
    height, width, channels = find(name).image_shape
    return (224, 224, channels) if stem.startswith("imagenet") else (height, width, channels)


def stem_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options that go with the stem that ``options`` name.

    A pre-activation network with an ImageNet stem normalizes and activates the stem's output before the
    max-pool, and its first block's branch does not do so again: fb.resnet.torch's ``preresnet.lua``, on
    which the code of He et al. 2016 builds, and their appendix. TensorFlow's ResNet-v2 and timm's max-pool
    the bare convolution: ``activate_stem=False``.
    """
    if options.get("preactivation") and str(options.get("stem")).startswith("imagenet"):
        return {"activate_stem": True}
    return {}


def variant_options(row: Row, variant: str) -> dict[str, Any]:
    """Options in which a public code base differs from the paper.

    "pytorch_cifar" is ResNeXt-29 with a 1x1 stem and twice, not four times, the width of the 3x3 convolution
    at a block's end; "blog" is ResNeXt-50 or -101 with a projection in every block, subsampling in the first
    1x1, biases, and a stem with other padding.

    Raises:
        ModelError: The network has no such variant.
    """
    if row.options.get("cardinality") and len(row.options["stage_sizes"]) == 3 and variant == "pytorch_cifar":
        width = row.options["cardinality"] * row.options["base_width"]
        if width % 32:
            raise ModelError(f"the pytorch_cifar variant needs C x W to be a multiple of 32, not {width}")
        return {"stem": "cifar_1x1", "stem_width": 64, "expansion": width // 32}
    if row.options.get("cardinality") and len(row.options["stage_sizes"]) == 4 and variant == "blog":
        return {"stem": "imagenet_blog", "use_bias": True, "shortcut": "C", "stride_on": "conv1"}
    raise ModelError(f"no variant {variant!r}: resnext29_* has 'pytorch_cifar', resnext50_* and 101_* 'blog'")
