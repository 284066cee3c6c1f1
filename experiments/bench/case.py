"""What the bench can time: a step or an evaluation of a network, a layer, or a matrix product."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal

from experiments.program.errors import ConfigError
from jax_resnet._text import first_line
from jax_resnet.models import VGG, ResNet, create_model
from jax_resnet.models.summary import summary

__all__ = [
    "BATCH_SIZES",
    "MATMUL_SIZE",
    "Case",
    "Framework",
    "LayerShape",
    "batch_size_of",
    "check_networks",
    "parse_arch",
]

Framework = Literal["jax_resnet", "flax", "torch", "matmul"]
# Batch sizes of the usual comparison; other networks get 64.
BATCH_SIZES = {"resnet20": 128, "resnet18": 64, "preact_resnet18": 64, "resnet50": 32, "resnext29_32x4d": 32}
MATMUL_SIZE = 2048


@dataclasses.dataclass(frozen=True)
class LayerShape:
    """A convolution without bias, or with ``kernel=0`` BatchNorm and ReLU, on square NHWC images."""

    size: int
    inputs: int
    outputs: int
    kernel: int
    strides: int = 1
    groups: int = 1

    def __str__(self) -> str:
        if not self.kernel:
            return f"norm+relu {self.inputs} at {self.size}x{self.size}"
        text = f"{self.kernel}x{self.kernel} {self.inputs} to {self.outputs} at {self.size}x{self.size}"
        text += f", stride {self.strides}" if self.strides > 1 else ""
        return text + (f", {self.groups} groups" if self.groups > 1 else "")


@dataclasses.dataclass(frozen=True)
class Case:
    """One thing to time.

    Attributes:
        framework: "flax" is this library's network on flax's own layers, unmodified.
        arch: The network's name; empty for a matrix product.
        batch_size: Images per step.
        task: "train" for a training step, "evaluate" for logits from running statistics, without gradients.
        program: How the process of "jax_resnet" is set up: like the experiments', which set malloc before
            they import jax, or like a library user's, which imports jax first and calls nothing.
        dtype: Computation type.
        bf16: What "bf16" is in PyTorch: its autocast, or weights and images cast to bfloat16.
        conv: Implementation of convolution, for "jax_resnet" only.
        layout: Memory layout of PyTorch's images.
        compiled: PyTorch by ``torch.compile`` instead of eagerly.
        options: Options of ``create_model``.
        image_size: Height and width of the images in pixels.
        layer: Time only this layer, forward and with all gradients.
        folded: Evaluate with BatchNorm folded into the convolutions, for "jax_resnet" only.
        steps_per_wait: Training steps that are dispatched before the last is waited for. On an accelerator
            one would time the way there and back.
    """

    framework: Framework
    arch: str = ""
    batch_size: int = 0
    dtype: Literal["f32", "bf16"] = "f32"
    task: Literal["train", "evaluate"] = "train"
    program: Literal["experiments", "user"] = "experiments"
    bf16: Literal["autocast", "weights"] = "autocast"
    conv: str = "auto"
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    image_size: int = 32
    layer: LayerShape | None = None
    compiled: bool = False
    folded: bool = False
    steps_per_wait: int = 1

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Case":
        """Undoes ``dataclasses.asdict`` after a journey through JSON."""
        layer = fields["layer"]
        return cls(**{**fields, "layer": LayerShape(**layer) if layer else None})

    @property
    def name(self) -> str:
        """The implementation, as tables name it."""
        if self.framework == "torch":
            bf16 = "autocast" if self.bf16 == "autocast" else "bf16 weights"
            name = f"PyTorch {bf16 if self.dtype == 'bf16' else self.layout}"
            return f"{name}, compiled" if self.compiled else name
        if self.framework == "jax_resnet":
            name = "jax_resnet" if self.conv == "auto" else f"jax_resnet, {self.conv} convolution"
            name += ", folded" if self.folded else ""
            return name if self.program == "experiments" else f"{name}, library user's program"
        return {"flax": "plain Flax", "matmul": "matrix product"}[self.framework]

    def flops(self) -> int:
        """Floating-point operations per step, of convolutions and linear layers only.

        A backward pass counts as two forward passes, as is usual.
        """
        if self.framework == "matmul":
            return 2 * MATMUL_SIZE**3
        if self.layer is not None:
            layer = self.layer
            pixels = self.batch_size * math.ceil(layer.size / layer.strides) ** 2
            return 6 * pixels * layer.kernel**2 * layer.inputs * layer.outputs // layer.groups
        model = create_model(self.arch, **self.options)
        shape = (self.image_size, self.image_size, 3)
        passes = 3 if self.task == "train" else 1
        return 2 * passes * self.batch_size * summary(model, shape).multiply_adds


def parse_arch(text: str) -> tuple[str, dict[str, Any]]:
    """Reads ``NAME`` or ``NAME@VARIANT``; a ResNeXt-29 without a variant is pytorch-cifar's.

    Returns:
        The network's name and the options of ``create_model``.

    Raises:
        ConfigError: There is no such network.
    """
    name, _, variant = text.partition("@")
    options: dict[str, Any] = {}
    if variant or name.startswith("resnext29"):
        options["variant"] = variant or "pytorch_cifar"
    try:
        create_model(name, **options)
    except ValueError as error:
        raise ConfigError(f"--arch {text}: {error}") from None
    return name, options


def check_networks(archs: Sequence[str], image_size: int, *, in_torch: bool) -> None:
    """Checks that each network exists, takes images of this size, and has a PyTorch form if ``in_torch``.

    Raises:
        ConfigError: A network does not; the message names it.
    """
    for text in archs:
        name, options = parse_arch(text)
        model = create_model(name, **options)
        if in_torch and not isinstance(model, ResNet | VGG):
            raise ConfigError(f"--arch {text}: has no form in PyTorch here to be compared with: name another")
        try:
            summary(model, (image_size, image_size, 3))
        except (ValueError, TypeError) as error:
            raise ConfigError(f"--arch {text}: {first_line(error)}") from None


def batch_size_of(arch: str, batch_size: int | None) -> int:
    """Images per step: ``batch_size`` if it is given, else the network's usual number."""
    return batch_size or BATCH_SIZES.get(arch, 64)
