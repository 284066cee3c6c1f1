"""What is timed in PyTorch, in eager mode, as its users run it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from experiments.bench.case import Case, LayerShape
from experiments.bench.torch_networks import TorchResNet, TorchVGG
from jax_resnet.models.blocks import BottleneckBlock
from jax_resnet.models.registry import find, stem_options, variant_options

__all__ = ["DEVICE", "Step", "evaluation_step", "layer_step", "network", "prepare", "training_step"]

Step = Callable[[], None]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# On a GPU: the fastest of cuDNN's algorithms, as XLA too picks them by trying. Both compute float32
# convolutions in TF32 there, by default.
torch.backends.cudnn.benchmark = True


def network(arch: str, *, variant: str | None = None, **options: Any) -> nn.Module:
    """Builds the PyTorch form of a network of ``create_model``."""
    row = find(arch)
    if row.block is None:
        return TorchVGG(**{**row.options, **options})
    block = "bottleneck" if row.block is BottleneckBlock else "basic"
    varied = variant_options(row, variant) if variant else {}
    options = {**row.options, **varied, **options}
    return TorchResNet(**{"block": block, **stem_options(options), **options})


def prepare(case: Case) -> tuple[Step, int]:
    """Returns a function that runs one step and waits for it, and the number of parameters."""
    torch.manual_seed(0)
    if case.layer:
        return layer_step(case, case.layer)
    return training_step(case) if case.task == "train" else evaluation_step(case)


def _place(x: Any, case: Case) -> Any:
    layout = torch.channels_last if case.layout == "NHWC" else torch.contiguous_format
    return x.to(DEVICE, memory_format=layout)


def training_step(case: Case) -> tuple[Step, int]:
    """A whole training step: forward, backward, SGD with momentum and weight decay."""
    model = _place(network(case.arch, **case.options), case).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    images = _place(torch.randn(case.batch_size, 3, case.image_size, case.image_size), case)
    labels = torch.randint(0, 10, (case.batch_size,), device=DEVICE)
    forward = _compiled(model, case)

    def run() -> None:
        for _ in range(case.steps_per_wait):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(DEVICE, torch.bfloat16, enabled=case.dtype == "bf16"):
                loss = functional.cross_entropy(forward(images), labels)
            loss.backward()
            optimizer.step()
        loss.item()  # waits
        _wait()  # for the update too

    return run, sum(p.numel() for p in model.parameters())


def _compiled(model: nn.Module, case: Case) -> Callable[[torch.Tensor], torch.Tensor]:
    """The network, compiled where the case asks for it."""
    return torch.compile(model) if case.compiled else model


def evaluation_step(case: Case) -> tuple[Step, int]:
    """Logits of a batch in evaluation mode, without the bookkeeping of gradients."""
    model = _place(network(case.arch, **case.options), case).eval()
    images = _place(torch.randn(case.batch_size, 3, case.image_size, case.image_size), case)
    if case.dtype == "bf16" and case.bf16 == "weights":
        model, images = model.to(torch.bfloat16), images.to(torch.bfloat16)
    autocast = case.dtype == "bf16" and case.bf16 == "autocast"
    forward = _compiled(model, case)

    def run() -> None:
        with torch.inference_mode(), torch.autocast(DEVICE, torch.bfloat16, enabled=autocast):
            forward(images)
        _wait()

    return run, sum(p.numel() for p in model.parameters())


def layer_step(case: Case, layer: LayerShape) -> tuple[Step, int]:
    """One layer's output and the gradients of its input and parameters."""
    dtype = torch.bfloat16 if case.dtype == "bf16" else torch.float32
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
    module = _place(module, case)
    images = torch.randn(case.batch_size, layer.inputs, layer.size, layer.size, dtype=dtype)
    images = _place(images, case).requires_grad_()
    gradient = torch.randn_like(module(images))

    def run() -> None:
        torch.autograd.grad(module(images), [images, *module.parameters()], gradient)
        _wait()

    return run, 0


def _wait() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()
