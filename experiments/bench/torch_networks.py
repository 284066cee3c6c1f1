"""The same networks from PyTorch's primitives, written from the papers, to compare with.

Names of layers are pytorch-cifar's. Import this only where PyTorch is installed.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional


class Block(nn.Module):
    """Any of the residual blocks."""

    bn1: nn.Module
    shortcut: nn.Module

    def __init__(self, inputs: int, filters: int, stride: int, first: bool, **o: Any) -> None:
        super().__init__()
        self.o, self.stride = o, stride
        bottleneck = o["block"] == "bottleneck"
        self.outputs = outputs = filters * o.get("expansion", 4 if bottleneck else 1)
        self.preact, self.preactivated = o.get("preactivation", False), o.get("activate_stem") and first
        groups = o.get("cardinality", 1)
        width = filters * o.get("base_width", 64) // 64 * groups if bottleneck else filters
        on_first = o.get("stride_on") == "conv1" or not bottleneck
        a, b = (stride, 1) if on_first else (1, stride)
        bias = o.get("use_bias", False)
        if bottleneck:
            self.conv1 = nn.Conv2d(inputs, width, 1, a, bias=bias)
            self.conv2 = nn.Conv2d(width, width, 3, b, 1, groups=groups, bias=bias)
            self.conv3 = nn.Conv2d(width, outputs, 1, bias=bias)
            norms = [inputs, width, width] if self.preact else [width, width, outputs]
        else:
            self.conv1 = nn.Conv2d(inputs, width, 3, a, 1, bias=bias)
            self.conv2 = nn.Conv2d(width, outputs, 3, b, 1, bias=bias)
            norms = [inputs, width] if self.preact else [width, outputs]
        self.depth = len(norms)
        for i, channels in enumerate(norms, 1):
            if not (self.preactivated and i == 1):
                setattr(self, f"bn{i}", nn.BatchNorm2d(channels))
        if o.get("se_reduction"):
            self.fc1 = nn.Conv2d(outputs, outputs // o["se_reduction"], 1)
            self.fc2 = nn.Conv2d(outputs // o["se_reduction"], outputs, 1)
        option = o.get("shortcut", "B")
        resized = stride != 1 or inputs != outputs
        self.option = option if resized or option in ("C", "none") else "identity"
        if self.option in ("B", "C", "D"):
            conv = nn.Conv2d(inputs, outputs, 1, 1 if self.option == "D" else stride, bias=bias)
            self.shortcut = (
                nn.Sequential(conv) if self.preact else nn.Sequential(conv, nn.BatchNorm2d(outputs))
            )

    def carried(self, x: torch.Tensor) -> Any:
        """What the shortcut carries."""
        if self.option == "identity":
            return x
        if self.option == "none":
            return 0
        if self.option == "A":
            missing = self.outputs - x.shape[1]
            before = 0 if self.o.get("shortcut_padding") == "end" else missing // 2
            return functional.pad(
                x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, missing - before)
            )
        if self.option == "D" and self.stride > 1:
            x = functional.avg_pool2d(x, self.stride, self.stride, ceil_mode=True, count_include_pad=False)
        return self.shortcut(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps NCHW to NCHW."""
        y = x
        if self.preact:
            if not self.preactivated:
                y = functional.relu(self.bn1(y))
            shortcut = x if self.option == "identity" else self.carried(y)
            for i in range(1, self.depth + 1):
                y = getattr(self, f"conv{i}")(y)
                if i < self.depth:
                    y = functional.relu(getattr(self, f"bn{i + 1}")(y))
            return self.excite(y) + shortcut
        for i in range(1, self.depth + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = functional.relu(y) if i < self.depth else y
        return functional.relu(self.excite(y) + self.carried(x))

    def excite(self, y: torch.Tensor) -> torch.Tensor:
        """Squeeze-and-excitation, where there is any."""
        if not self.o.get("se_reduction"):
            return y
        gate = functional.relu(self.fc1(y.mean((2, 3), keepdim=True)))
        return y * torch.sigmoid(self.fc2(gate))


class TorchResNet(nn.Module):
    """Any of the residual networks; the options are those of ``create_model``."""

    def __init__(self, stage_sizes: Any, widths: Any = (64, 128, 256, 512), num_classes: int = 10, **o: Any):
        super().__init__()
        self.o = o
        width, bias = o.get("stem_width", widths[0]), o.get("use_bias", False)
        kernel, stride, padding, self.pool = {
            "cifar": (3, 1, 1, None),
            "cifar_1x1": (1, 1, 0, None),
            "imagenet": (7, 2, 3, 1),
            "imagenet_blog": (7, 2, 4, 0),
            "imagenet_d": (3, 2, 1, 1),
        }[o.get("stem", "cifar")]
        self.conv1: nn.Module = nn.Conv2d(3, width, kernel, stride, padding, bias=bias)
        if o.get("stem") == "imagenet_d":
            half = width // 2
            self.conv1 = nn.Sequential(
                nn.Conv2d(3, half, 3, 2, 1, bias=False),
                nn.BatchNorm2d(half),
                nn.ReLU(),
                nn.Conv2d(half, half, 3, 1, 1, bias=False),
                nn.BatchNorm2d(half),
                nn.ReLU(),
                nn.Conv2d(half, width, 3, 1, 1, bias=False),
            )
        self.preact = o.get("preactivation", False)
        self.activate = o.get("activate_stem", not self.preact)
        if self.activate:
            self.bn1 = nn.BatchNorm2d(width)
        self.stages = []
        for i, size in enumerate(stage_sizes):
            blocks = []
            for j in range(size):
                block = Block(width, widths[i], 2 if i and not j else 1, i == j == 0, **o)
                width = block.outputs
                blocks.append(block)
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
            self.stages.append(f"layer{i + 1}")
        if self.preact and o.get("final_norm", True):
            self.bn = nn.BatchNorm2d(width)
        self.linear = nn.Linear(width, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps images NCHW to logits."""
        x = self.conv1(x)
        if self.activate:
            x = functional.relu(self.bn1(x))
        if self.pool is not None:
            x = functional.max_pool2d(x, 3, 2, self.pool)
        for stage in self.stages:
            x = getattr(self, stage)(x)
        if hasattr(self, "bn"):
            x = functional.relu(self.bn(x))
        return self.linear(x.mean((2, 3)))


class TorchVGG(nn.Module):
    """VGG with BatchNorm and one linear layer."""

    def __init__(self, stage_sizes: Any, widths: Any = (64, 128, 256, 512, 512), num_classes: int = 10):
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for size, width in zip(stage_sizes, widths, strict=True):
            for _ in range(size):
                layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
                inputs = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(inputs, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps images NCHW to logits."""
        return self.classifier(self.features(x).mean((2, 3)))
