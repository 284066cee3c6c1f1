"""A training on CIFAR-10 as a PyTorch user writes it, for comparison with ``experiments.cifar10``.

    python -m experiments.bench.torch_cifar10 --arch resnet20
    python -m experiments.bench.torch_cifar10 --arch resnet20 --recipe quick --dtype bf16

It transforms single images like torchvision in a DataLoader with two workers, trains in channels_last with
SGD, one epoch or as a recipe of ours says, evaluates on 5,000 held-out images after each epoch, writes a
checkpoint and tests. Images are mirrored at random, whatever the recipe. The last line it prints is a report
in JSON.
"""

import argparse
import contextlib
import dataclasses
import functools
import json
import math
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
from experiments.settings.config import Config, OptimConfig
from experiments.settings.recipes import choose
from jax_resnet import data
from jax_resnet.data import ArraySplit
from jax_resnet.data.splits import hold_out

__all__ = ["main", "make_schedule", "random_crop"]

ONE_EPOCH = Config(optim=OptimConfig(epochs=1, schedule="constant"))
MODES = {"black": "constant", "reflect": "reflect"}
WORKERS = 2
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def random_crop(image: Image.Image, padding: int = 4, mode: str = "constant") -> Image.Image:
    """The RandomCrop(32, padding, padding_mode=mode) of torchvision."""
    left, top = random.randint(0, 2 * padding), random.randint(0, 2 * padding)
    sides = ((padding, padding), (padding, padding), (0, 0))
    padded = np.pad(np.asarray(image), sides, mode=mode)  # type: ignore[call-overload]
    return Image.fromarray(padded[top : top + 32, left : left + 32])


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


def make_loaders(flags: argparse.Namespace, config: Config) -> tuple[DataLoader, DataLoader, DataLoader]:
    """Loads the data; returns batches of training, validation and test images."""
    dataset = data.load(flags.dataset)
    training, validation = hold_out(dataset.train, flags.val_size, seed=0)
    normalize = ToNormalized(dataset.mean, dataset.std)
    crop = functools.partial(random_crop, padding=config.data.crop_padding, mode=MODES[config.data.padding])
    augmented = Images(training, crop, random_flip, normalize)
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


def make_schedule(
    optimizer: torch.optim.Optimizer, optim: OptimConfig, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """The recipe's learning rates, by PyTorch's own schedules."""
    if optim.schedule == "one-cycle":
        return torch.optim.lr_scheduler.OneCycleLR(
            optimizer, optim.learning_rate, steps, pct_start=optim.peak_at, cycle_momentum=False
        )
    rising = max(1, round(optim.warmup * steps))

    def factor(step: int) -> float:
        falling = (1 + math.cos(math.pi * step / steps)) / 2 if optim.schedule == "cosine" else 1.0
        return min(1.0, (step + 1) / rising) * falling

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


class Training:
    """A network in training, epoch by epoch."""

    def __init__(self, model: nn.Module, config: Config, flags: argparse.Namespace, per_epoch: int) -> None:
        optim = config.optim
        self.model, self.flags = model, flags
        self.total = min(optim.epochs * per_epoch, flags.max_steps or math.inf)
        self.optimizer = torch.optim.SGD(
            model.parameters(),
            lr=optim.learning_rate,
            momentum=optim.momentum,
            weight_decay=optim.weight_decay,
            nesterov=optim.nesterov,
        )
        self.schedule = make_schedule(self.optimizer, optim, optim.epochs * per_epoch)
        self.loss_of = nn.CrossEntropyLoss(label_smoothing=optim.label_smoothing)
        self.small_size = config.data.small_size
        part = config.data.small_part if self.small_size else 0.0
        self.small_until = round(part * optim.epochs * per_epoch)
        self.steps, self.seconds = 0, 0.0

    def epoch(self, loader: DataLoader) -> None:
        """Trains on every batch once, or until ``--max-steps``."""
        start = time.perf_counter()
        self.model.train()
        for images, labels in loader:
            if self.steps == self.total:
                break
            self.optimizer.zero_grad(set_to_none=True)
            if self.steps < self.small_until:
                images = resize(images, self.small_size)
            images = images.to(DEVICE, memory_format=torch.channels_last)
            with computing_in(self.flags.dtype):
                loss = self.loss_of(self.model(images), labels.to(DEVICE))
            loss.backward()
            self.optimizer.step()
            self.schedule.step()
            self.steps += 1
            if self.flags.log:
                with self.flags.log.open("a") as file:
                    file.write(json.dumps({"step": self.steps, "loss": loss.item()}) + "\n")
            if self.steps % 50 == 0:
                print(f"step {self.steps}  loss {loss.item():.4f}", flush=True)
        self.seconds += time.perf_counter() - start


def resize(images: torch.Tensor, size: int) -> torch.Tensor:
    """Images ``(N, C, H, W)`` of another height and width."""
    return nn.functional.interpolate(images, (size, size), mode="bilinear", antialias=True)


def computing_in(dtype: str) -> contextlib.AbstractContextManager[Any]:
    """PyTorch's autocast for bf16."""
    if dtype == "f32":
        return contextlib.nullcontext()
    return torch.autocast(DEVICE, torch.bfloat16)


def accuracy(model: nn.Module, loader: DataLoader, dtype: str) -> float:
    """Fraction of a loader's images that the network classifies correctly."""
    model.eval()
    correct = count = 0
    with torch.inference_mode(), computing_in(dtype):
        for images, labels in loader:
            logits = model(images.to(DEVICE, memory_format=torch.channels_last))
            correct += int((logits.argmax(1) == labels.to(DEVICE)).sum())
            count += len(labels)
    return correct / count


def main() -> None:
    """Trains, validates, saves and tests; prints a report as JSON."""
    parser = argparse.ArgumentParser(description="A training on CIFAR-10 as a PyTorch user writes it.")
    parser.add_argument("--arch", default="resnet20", help="network of jax_resnet.models.list_models()")
    parser.add_argument(
        "--recipe",
        choices=("quick", "fast", "standard"),
        help="recipe of experiments.cifar10 (default: one epoch at 0.1)",
    )
    parser.add_argument("--epochs", type=int, help="epochs to train for (default: the recipe's)")
    parser.add_argument("--dtype", choices=("f32", "bf16"), default="f32", help="bf16: by autocast")
    parser.add_argument("--batch-size", type=int, help="images per step (default: the recipe's)")
    parser.add_argument("--dataset", default="cifar10", help="cifar10 or digits: images of 32x32x3")
    parser.add_argument("--val-size", type=int, default=5000, help="images held out for validation")
    parser.add_argument("--max-steps", type=int, help="training steps at most")
    parser.add_argument("--log", type=Path, help="file to which a line is added after each training step")
    flags = parser.parse_args()

    config = choose(flags.dataset, flags.recipe, flags.arch) if flags.recipe else ONE_EPOCH
    optim = dataclasses.replace(config.optim, epochs=flags.epochs or config.optim.epochs)
    config = dataclasses.replace(config, optim=optim)
    flags.batch_size = flags.batch_size or config.optim.batch_size
    train_loader, val_loader, test_loader = make_loaders(flags, config)
    model: Any = make_network(flags.arch)
    model = model.to(DEVICE, memory_format=torch.channels_last)
    training = Training(model, config, flags, len(train_loader))
    start = time.perf_counter()
    validations = []
    while training.steps < training.total:
        training.epoch(train_loader)
        validations.append(
            {
                "epoch": training.steps / len(train_loader),
                "val_accuracy": accuracy(model, val_loader, flags.dtype),
                "seconds": time.perf_counter() - start,
            }
        )
    with TemporaryDirectory() as folder:
        state = {"model": model.state_dict(), "optimizer": training.optimizer.state_dict()}
        torch.save(state, Path(folder) / "checkpoint.pt")
    test_accuracy = accuracy(model, test_loader, flags.dtype)
    report = {
        "steps": training.steps,
        "seconds": time.perf_counter() - start,
        "training_seconds": training.seconds,
        "images_per_second": training.steps * flags.batch_size / training.seconds,
        "val_accuracy": validations[-1]["val_accuracy"],
        "validations": validations,
        "test_accuracy": test_accuracy,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
