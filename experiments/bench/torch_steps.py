"""The same steps in PyTorch, eager, as its users run them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from experiments.bench.case import Layer, Subject
from experiments.bench.torch_networks import TorchResNet, TorchVGG
from jax_resnet.models.blocks import BottleneckBlock
from jax_resnet.models.registry import find, variant_options

Step = Callable[[], None]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def network(arch: str, *, variant: str | None = None, **options: Any) -> nn.Module:
    """PyTorch's form of a network of ``create_model``."""
    row = find(arch)
    if row.block is None:
        return TorchVGG(**{**row.options, **options})
    block = "bottleneck" if row.block is BottleneckBlock else "basic"
    varied = variant_options(row, variant) if variant else {}
    return TorchResNet(**{"block": block, **row.options, **varied, **options})


def prepare(subject: Subject) -> tuple[Step, int]:
    """A function that makes one step and waits for it, and the number of parameters."""
    torch.manual_seed(0)
    return layer_step(subject, subject.layer) if subject.layer else network_step(subject)


def _place(x: Any, subject: Subject) -> Any:
    layout = torch.channels_last if subject.layout == "NHWC" else torch.contiguous_format
    return x.to(DEVICE, memory_format=layout)


def network_step(subject: Subject) -> tuple[Step, int]:
    """A whole training step: forward, backward, SGD with momentum and weight decay."""
    model = _place(network(subject.arch, **subject.options), subject).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    images = _place(torch.randn(subject.batch_size, 3, subject.image_size, subject.image_size), subject)
    labels = torch.randint(0, 10, (subject.batch_size,), device=DEVICE)

    def run() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(DEVICE, torch.bfloat16, enabled=subject.dtype == "bf16"):
            loss = functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        loss.item()  # waits

    return run, sum(p.numel() for p in model.parameters())


def layer_step(subject: Subject, layer: Layer) -> tuple[Step, int]:
    """One layer's output and the gradients of its input and parameters."""
    dtype = torch.bfloat16 if subject.dtype == "bf16" else torch.float32
    module: nn.Module
    if layer.kernel:
        module = nn.Conv2d(
            layer.inputs,
            layer.outputs,
            layer.kernel,
            layer.strides,
            layer.kernel // 2,
            groups=layer.groups,
            bias=False,
        ).to(dtype)
    else:
        module = nn.Sequential(nn.BatchNorm2d(layer.inputs), nn.ReLU(inplace=True))
    module = _place(module, subject)
    images = torch.randn(subject.batch_size, layer.inputs, layer.size, layer.size, dtype=dtype)
    images = _place(images, subject).requires_grad_()
    gradient = torch.randn_like(module(images))

    def run() -> None:
        torch.autograd.grad(module(images), [images, *module.parameters()], gradient)
        if DEVICE == "cuda":
            torch.cuda.synchronize()

    return run, 0
