"""An epoch of CIFAR-10 as a PyTorch user writes it, for comparison with ``experiments.cifar10``.

    python -m experiments.bench.torch_cifar10 --arch resnet20

It transforms single images like torchvision in a DataLoader with two workers, trains in channels_last with
SGD, evaluates on 5,000 held-out images, writes a checkpoint and tests. The last line it prints is a report
in JSON.
"""

import argparse
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import nn
from torch.utils.data import DataLoader, Dataset

from experiments.bench.torch_networks import TorchResNet, usual_options
from jax_resnet import data
from jax_resnet.data import ArraySplit
from jax_resnet.data.splits import hold_out

__all__ = ["main"]

WORKERS = 2
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def random_crop(image: Image.Image) -> Image.Image:
    """The RandomCrop(32, padding=4) of torchvision."""
    left, top = random.randint(0, 8), random.randint(0, 8)
    return ImageOps.expand(image, 4).crop((left, top, left + 32, top + 32))


def random_flip(image: Image.Image) -> Image.Image:
    """The RandomHorizontalFlip of torchvision."""
    return ImageOps.mirror(image) if random.random() < 0.5 else image


class ToNormalized:
    """The ToTensor of torchvision followed by Normalize: from an image to float32, CHW."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        self.mean, self.std = (torch.tensor(values).view(3, 1, 1) for values in (mean, std))

    def __call__(self, image: Image.Image) -> torch.Tensor:
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
        return pixels.to(torch.float32).div(255).sub_(self.mean).div_(self.std)


class Images(Dataset):
    """A split whose images are transformed one by one."""

    def __init__(self, split: ArraySplit, *transforms: Callable) -> None:
        self.split, self.transforms = split, transforms

    def __len__(self) -> int:
        return len(self.split.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        x: Any = Image.fromarray(self.split.images[index])
        for transform in self.transforms:
            x = transform(x)
        return x, int(self.split.labels[index])


def make_loaders(flags: argparse.Namespace) -> tuple[DataLoader, DataLoader, DataLoader]:
    """Loads the data; returns batches of training, validation and test images."""
    dataset = data.load(flags.dataset)
    training, validation = hold_out(dataset.train, flags.val_size, seed=0)
    normalize = ToNormalized(dataset.mean, dataset.std)
    augmented = Images(training, random_crop, random_flip, normalize)
    return (
        DataLoader(augmented, flags.batch_size, shuffle=True, drop_last=True, num_workers=WORKERS),
        DataLoader(Images(validation, normalize), 500, num_workers=WORKERS),
        DataLoader(Images(dataset.test, normalize), 500, num_workers=WORKERS),
    )


def make_network(arch: str) -> nn.Module:
    """Builds the usual networks from PyTorch alone, others from the options of ours, which imports jax."""
    if options := usual_options(arch):
        return TorchResNet(options)
    from experiments.bench.torch_steps import network

    return network(arch)


def train(
    model: nn.Module, loader: DataLoader, flags: argparse.Namespace
) -> tuple[torch.optim.Optimizer, int]:
    """Trains for an epoch, or for ``--max-steps``; returns the optimizer and the number of steps."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    loss_of = nn.CrossEntropyLoss()
    model.train()
    steps = 0
    for images, labels in loader:
        optimizer.zero_grad(set_to_none=True)
        images = images.to(DEVICE, memory_format=torch.channels_last)
        loss = loss_of(model(images), labels.to(DEVICE))
        loss.backward()
        optimizer.step()
        steps += 1
        if flags.log:
            with flags.log.open("a") as file:
                file.write(json.dumps({"step": steps, "loss": loss.item()}) + "\n")
        if steps % 50 == 0:
            print(f"step {steps}  loss {loss.item():.4f}", flush=True)
        if steps == flags.max_steps:
            break
    return optimizer, steps


def accuracy(model: nn.Module, loader: DataLoader) -> float:
    """Fraction of a loader's images that the network classifies correctly."""
    model.eval()
    correct = count = 0
    with torch.inference_mode():
        for images, labels in loader:
            logits = model(images.to(DEVICE, memory_format=torch.channels_last))
            correct += int((logits.argmax(1) == labels.to(DEVICE)).sum())
            count += len(labels)
    return correct / count


def main() -> None:
    """Trains for an epoch, validates, saves and tests; prints a report as JSON."""
    parser = argparse.ArgumentParser(description="An epoch of CIFAR-10 as a PyTorch user writes it.")
    parser.add_argument("--arch", default="resnet20", help="network of jax_resnet.models.list_models()")
    parser.add_argument("--batch-size", type=int, default=128, help="images per step")
    parser.add_argument("--dataset", default="cifar10", help="cifar10 or digits: images of 32x32x3")
    parser.add_argument("--val-size", type=int, default=5000, help="images held out for validation")
    parser.add_argument("--max-steps", type=int, help="training steps at most (default: one epoch)")
    parser.add_argument("--log", type=Path, help="file to which a line is added after each training step")
    flags = parser.parse_args()

    train_loader, val_loader, test_loader = make_loaders(flags)
    start = time.perf_counter()
    model: Any = make_network(flags.arch)
    model = model.to(DEVICE, memory_format=torch.channels_last)
    optimizer, steps = train(model, train_loader, flags)
    trained = time.perf_counter()
    val_accuracy = accuracy(model, val_loader)
    with TemporaryDirectory() as folder:
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save(state, Path(folder) / "checkpoint.pt")
    test_accuracy = accuracy(model, test_loader)
    report = {
        "steps": steps,
        "seconds": time.perf_counter() - start,
        "training_seconds": trained - start,
        "images_per_second": steps * flags.batch_size / (trained - start),
        "val_accuracy": val_accuracy,
        "test_accuracy": test_accuracy,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
