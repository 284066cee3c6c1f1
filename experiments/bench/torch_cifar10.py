"""An epoch of CIFAR-10 as a PyTorch user writes it, to race ``experiments.cifar10`` against.

    python -m experiments.bench.torch_cifar10 --arch resnet20

Transforms of single pictures, as torchvision's, in a DataLoader with two workers, channels_last, SGD, a
validation of 5,000 images, a checkpoint, a test of 10,000. It prints its seconds as JSON.
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

from experiments.bench.torch_steps import network
from jax_resnet import data
from jax_resnet.data import ArraySplit
from jax_resnet.data.splits import hold_out


def random_crop(picture: Image.Image) -> Image.Image:
    """Torchvision's RandomCrop(32, padding=4)."""
    left, top = random.randint(0, 8), random.randint(0, 8)
    return ImageOps.expand(picture, 4).crop((left, top, left + 32, top + 32))


def random_flip(picture: Image.Image) -> Image.Image:
    """Torchvision's RandomHorizontalFlip."""
    return ImageOps.mirror(picture) if random.random() < 0.5 else picture


class ToNormalized:
    """torchvision's ToTensor, then Normalize."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        """Keeps both, a number a channel."""
        self.mean, self.std = (torch.tensor(values).view(3, 1, 1) for values in (mean, std))

    def __call__(self, picture: Image.Image) -> torch.Tensor:
        """Maps a picture to CHW."""
        pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()
        return pixels.to(torch.float32).div(255).sub_(self.mean).div_(self.std)


class Images(Dataset):
    """A split, transformed image by image."""

    def __init__(self, split: ArraySplit, *transforms: Callable) -> None:
        """Keeps both."""
        self.split, self.transforms = split, transforms

    def __len__(self) -> int:
        return len(self.split.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        x: Any = Image.fromarray(self.split.images[index])
        for transform in self.transforms:
            x = transform(x)
        return x, int(self.split.labels[index])


def accuracy(model: nn.Module, loader: DataLoader) -> float:
    """The share of a loader's images that the network classifies rightly."""
    model.eval()
    correct = count = 0
    with torch.inference_mode():
        for images, labels in loader:
            logits = model(images.to(memory_format=torch.channels_last))
            correct += int((logits.argmax(1) == labels).sum())
            count += len(labels)
    return correct / count


def main() -> None:
    """Trains for an epoch, validates, saves, tests."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", default="resnet20")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--max-steps", type=int, default=None)
    arguments = parser.parse_args()

    dataset = data.load("cifar10")
    training, validation = hold_out(dataset.train, 5000, seed=0)
    to_tensor = ToNormalized(dataset.mean, dataset.std)
    train_loader = DataLoader(
        Images(training, random_crop, random_flip, to_tensor),
        arguments.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=2,
    )
    val_loader = DataLoader(Images(validation, to_tensor), 500, num_workers=2)
    test_loader = DataLoader(Images(dataset.test, to_tensor), 500, num_workers=2)

    start = time.perf_counter()
    model: Any = network(arguments.arch)
    model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    loss_of = nn.CrossEntropyLoss()
    model.train()
    steps = 0
    for images, labels in train_loader:
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(model(images.to(memory_format=torch.channels_last)), labels)
        loss.backward()
        optimizer.step()
        steps += 1
        if steps % 50 == 0:
            print(f"step {steps}  loss {loss.item():.4f}", flush=True)
        if steps == arguments.max_steps:
            break
    trained = time.perf_counter()
    val_accuracy = accuracy(model, val_loader)
    with TemporaryDirectory() as folder:
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save(state, Path(folder) / "checkpoint.pt")
    test_accuracy = accuracy(model, test_loader)
    end = time.perf_counter()
    print(
        json.dumps(
            {
                "steps": steps,
                "seconds": end - start,
                "training_seconds": trained - start,
                "images_per_second": steps * arguments.batch_size / (trained - start),
                "val_accuracy": val_accuracy,
                "test_accuracy": test_accuracy,
            }
        )
    )


if __name__ == "__main__":
    main()
