"""The networks in PyTorch, written plainly from the papers: the reference that ours are compared with.

Layers are named as in pytorch-cifar. Options have the names and meanings of ``create_model``'s. Images are
NCHW. Import this module only where PyTorch is installed.
"""

import dataclasses
import re
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, relu

__all__ = ["Options", "TorchResNet", "TorchVGG", "usual_options"]


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of a residual network; ``create_model`` and its classes explain them."""

    stage_sizes: Sequence[int]
    widths: Sequence[int] = (64, 128, 256, 512)
    num_classes: int = 10
    block: Literal["basic", "bottleneck"] = "basic"
    expansion: int | None = None
    cardinality: int = 1
    base_width: int = 64
    stride_on: Literal["conv1", "conv2"] = "conv2"
    stem: str = "cifar"
    stem_width: int | None = None
    shortcut: Literal["A", "B", "C", "D", "none"] = "B"
    shortcut_padding: Literal["both", "end"] = "both"
    preactivation: bool = False
    activate_stem: bool = False
    final_norm: bool = True
    se_reduction: int = 0
    use_bias: bool = False


class PadShortcut(nn.Module):
    """Option A: subsamples the image and pads with channels of zeros."""

    def __init__(self, inputs: int, outputs: int, stride: int, side: str) -> None:
        super().__init__()
        before = (outputs - inputs) // 2 if side == "both" else 0
        self.stride, self.padding = stride, (0, 0, 0, 0, before, outputs - inputs - before)

    def forward(self, x: Tensor) -> Tensor:
        return pad(x[:, :, :: self.stride, :: self.stride], self.padding)


class NoShortcut(nn.Module):
    """The missing shortcut of a plain network."""

    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros(())


def make_shortcut(o: Options, inputs: int, outputs: int, stride: int, *, norm: bool) -> nn.Module:
    """Builds the shortcut of a block; a projection is followed by a BatchNorm if ``norm``."""
    if o.shortcut == "none":
        return NoShortcut()
    if stride == 1 and inputs == outputs and o.shortcut != "C":
        return nn.Identity()
    if o.shortcut == "A":
        return PadShortcut(inputs, outputs, stride, o.shortcut_padding)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if o.shortcut == "D" and stride > 1:
        layers["pool"] = nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)
        stride = 1
    layers["0"] = nn.Conv2d(inputs, outputs, 1, stride, bias=o.use_bias)
    if norm:
        layers["1"] = nn.BatchNorm2d(outputs)
    return nn.Sequential(layers)


class Block(nn.Module):
    """A residual branch's convolutions: 3x3 and 3x3, or 1x1, 3x3 and 1x1 (He et al. 2015, figure 5)."""

    def __init__(self, o: Options, inputs: int, filters: int, stride: int) -> None:
        super().__init__()
        bias = o.use_bias
        self.bottleneck = o.block == "bottleneck"
        if self.bottleneck:
            self.width = filters * o.base_width // 64 * o.cardinality
            self.outputs = filters * (o.expansion or 4)
            first, second = (stride, 1) if o.stride_on == "conv1" else (1, stride)
            self.conv1 = nn.Conv2d(inputs, self.width, 1, first, bias=bias)
            self.conv2 = nn.Conv2d(self.width, self.width, 3, second, 1, groups=o.cardinality, bias=bias)
            self.conv3 = nn.Conv2d(self.width, self.outputs, 1, bias=bias)
        else:
            self.width = filters
            self.outputs = filters * (o.expansion or 1)
            self.conv1 = nn.Conv2d(inputs, self.width, 3, stride, 1, bias=bias)
            self.conv2 = nn.Conv2d(self.width, self.outputs, 3, 1, 1, bias=bias)
        self.excite = o.se_reduction > 0
        if self.excite:  # squeeze-and-excitation
            self.fc1 = nn.Conv2d(self.outputs, self.outputs // o.se_reduction, 1)
            self.fc2 = nn.Conv2d(self.outputs // o.se_reduction, self.outputs, 1)

    def gated(self, y: Tensor) -> Tensor:
        """Scales channels by squeeze-and-excitation (Hu et al. 2018, figure 3), where the block has it."""
        if not self.excite:
            return y
        return y * torch.sigmoid(self.fc2(relu(self.fc1(y.mean((2, 3), keepdim=True)))))


class PostActivationBlock(Block):
    """BatchNorm after each convolution, the last ReLU after the addition (He et al. 2015)."""

    def __init__(self, o: Options, inputs: int, filters: int, stride: int) -> None:
        super().__init__(o, inputs, filters, stride)
        self.bn1 = nn.BatchNorm2d(self.width)
        self.bn2 = nn.BatchNorm2d(self.conv2.out_channels)
        if self.bottleneck:
            self.bn3 = nn.BatchNorm2d(self.outputs)
        self.shortcut = make_shortcut(o, inputs, self.outputs, stride, norm=True)

    def forward(self, x: Tensor) -> Tensor:
        y = relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.bottleneck:
            y = self.bn3(self.conv3(relu(y)))
        return relu(self.gated(y) + self.shortcut(x))


class PreActivationBlock(Block):
    """BatchNorm and ReLU before each convolution (He et al. 2016, figure 4e).

    A shortcut that is not the identity starts from the activated input. With ``activated`` the input is
    already activated, as after the stem of the CIFAR networks, and the block has no ``bn1``.
    """

    def __init__(self, o: Options, inputs: int, filters: int, stride: int, *, activated: bool) -> None:
        super().__init__(o, inputs, filters, stride)
        self.activated = activated
        if not activated:
            self.bn1 = nn.BatchNorm2d(inputs)
        self.bn2 = nn.BatchNorm2d(self.width)
        if self.bottleneck:
            self.bn3 = nn.BatchNorm2d(self.width)
        self.shortcut = make_shortcut(o, inputs, self.outputs, stride, norm=False)

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.activated else relu(self.bn1(x))
        shortcut = self.shortcut(x if isinstance(self.shortcut, nn.Identity) else y)
        y = self.conv2(relu(self.bn2(self.conv1(y))))
        if self.bottleneck:
            y = self.conv3(relu(self.bn3(y)))
        return self.gated(y) + shortcut


def make_stem(o: Options, width: int) -> tuple[nn.Module, nn.Module]:
    """Builds the stem's convolution, or three of them, and its max-pool."""
    kernel, stride, padding, pool_padding = {
        "cifar": (3, 1, 1, None),
        "cifar_1x1": (1, 1, 0, None),
        "imagenet": (7, 2, 3, 1),
        "imagenet_blog": (7, 2, 4, 0),
        "imagenet_d": (3, 2, 1, 1),
    }[o.stem]
    conv: nn.Module = nn.Conv2d(3, width, kernel, stride, padding, bias=o.use_bias)
    if o.stem == "imagenet_d":  # He et al. 2018, "Bag of tricks", figure 2b
        half = width // 2
        conv = nn.Sequential(
            *(nn.Conv2d(3, half, 3, 2, 1, bias=False), nn.BatchNorm2d(half), nn.ReLU()),
            *(nn.Conv2d(half, half, 3, 1, 1, bias=False), nn.BatchNorm2d(half), nn.ReLU()),
            nn.Conv2d(half, width, 3, 1, 1, bias=False),
        )
    return conv, nn.Identity() if pool_padding is None else nn.MaxPool2d(3, 2, pool_padding)


class TorchResNet(nn.Module):
    """A residual network (He et al. 2015, table 1 and section 4.2; He et al. 2016)."""

    def __init__(self, options: Options | None = None, **fields: Any) -> None:
        """Takes ``Options``, or the fields of it."""
        super().__init__()
        o = options or Options(**fields)
        width = o.stem_width or o.widths[0]
        self.conv1, self.pool = make_stem(o, width)
        # A pre-activation network normalizes after the stem only where ``activate_stem`` asks for it.
        self.activate_stem = o.activate_stem or not o.preactivation
        if self.activate_stem:
            self.bn1 = nn.BatchNorm2d(width)
        self.stages = len(o.stage_sizes)
        for i, size in enumerate(o.stage_sizes):
            stage = nn.Sequential()
            for j in range(size):
                stride = 2 if i > 0 and j == 0 else 1
                if o.preactivation:
                    activated = o.activate_stem and i == j == 0
                    block: Block = PreActivationBlock(o, width, o.widths[i], stride, activated=activated)
                else:
                    block = PostActivationBlock(o, width, o.widths[i], stride)
                stage.append(block)
                width = block.outputs
            setattr(self, f"layer{i + 1}", stage)
        self.final_norm = o.preactivation and o.final_norm
        if self.final_norm:
            self.bn = nn.BatchNorm2d(width)
        self.linear = nn.Linear(width, o.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Maps images to logits."""
        x = self.conv1(x)
        if self.activate_stem:
            x = relu(self.bn1(x))
        x = self.pool(x)
        for i in range(self.stages):
            x = getattr(self, f"layer{i + 1}")(x)
        if self.final_norm:
            x = relu(self.bn(x))
        return self.linear(x.mean((2, 3)))


def usual_options(name: str) -> Options | None:
    """Options of resnet{6n+2}, and of [preact_]resnet18, 34 and 50 for small images; None for other names."""
    match = re.fullmatch(r"(preact_)?resnet(\d+)", name)
    if match is None:
        return None
    depth, preactivation = int(match[2]), match[1] is not None
    if depth in (18, 34, 50):
        stage_sizes = (2, 2, 2, 2) if depth == 18 else (3, 4, 6, 3)
        block: Literal["basic", "bottleneck"] = "bottleneck" if depth == 50 else "basic"
        return Options(stage_sizes, block=block, preactivation=preactivation)
    if preactivation or depth < 8 or depth % 6 != 2:
        return None
    return Options((depth // 6,) * 3, widths=(16, 32, 64), shortcut="A")


class TorchVGG(nn.Module):
    """VGG with BatchNorm and one linear layer (Simonyan and Zisserman 2015, table 1)."""

    def __init__(
        self,
        stage_sizes: Sequence[int],
        widths: Sequence[int] = (64, 128, 256, 512, 512),
        num_classes: int = 10,
    ) -> None:
        super().__init__()
        self.features = nn.Sequential()
        inputs = 3
        for size, width in zip(stage_sizes, widths, strict=True):
            for _ in range(size):
                self.features.append(nn.Conv2d(inputs, width, 3, padding=1))
                self.features.append(nn.BatchNorm2d(width))
                self.features.append(nn.ReLU())
                inputs = width
            self.features.append(nn.MaxPool2d(2))
        self.classifier = nn.Linear(inputs, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Maps images to logits."""
        return self.classifier(self.features(x).mean((2, 3)))
