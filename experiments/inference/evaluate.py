"""What ``python -m experiments.evaluate`` does."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from experiments.evaluate import EvaluateConfig
from experiments.inference.evaluation import evaluate
from experiments.inference.network import read_variables
from experiments.program.console import Console
from experiments.program.errors import ConfigError
from experiments.runs import plots
from experiments.runs.folder import device, versions
from experiments.settings.datasets import STREAMED, complaint, load
from jax_resnet import checkpoint
from jax_resnet.data import SILENT
from jax_resnet.data.augment import normalize
from jax_resnet.data.registry import lookup
from jax_resnet.models import create_model
from jax_resnet.models.registry import find
from jax_resnet.train import Network, make_eval_step

IMAGE_SIZE = 224


def evaluate_weights(config: EvaluateConfig, console: Console) -> dict[str, Any]:
    """Evaluates as told, prints and writes the result, and returns what ``evaluation.json`` holds.

    Raises:
        ConfigError: A setting that cannot be, or weights that do not fit.
        jax_resnet.data.DataError: The data is not to be had.
        jax_resnet.checkpoint.CheckpointError: The checkpoint cannot be read.
    """
    check(config)
    name, model, variables, trained = read_network(config)
    out = Path(config.out or f"evaluations/{name}-{config.dataset}")
    if (out / "evaluation.json").exists() and not config.overwrite:
        raise ConfigError(f"{out} holds an evaluation already: --overwrite it, or name another --out")
    image_size = config.image_size or trained.get("image_shape", [IMAGE_SIZE])[0]
    dataset = load(dataclasses.replace(config, image_size=image_size), console)
    dataset = dataset.padded(find(name).image_shape[:2])
    mean = config.mean or tuple(trained.get("mean", dataset.mean))
    std = config.std or tuple(trained.get("std", dataset.std))
    channels = dataset.test.image_shape[-1]
    if len(mean) != channels or len(std) != channels:
        raise ConfigError(f"--mean and --std need {channels} numbers for the channels of {dataset.name}")

    network: Network = MirrorAverage(model.apply) if config.tta == "flip" else model
    step = jax.jit(make_eval_step(network, lambda images: normalize(images, mean, std)))
    with console.progress("evaluation (images)", len(dataset.test)) as advance:
        result = evaluate(step, variables, dataset.test, config.batch_size, advance)
    classes = dataset.num_classes
    if result.logits.shape[1] != classes:
        raise ConfigError(f"the network has {result.logits.shape[1]} classes, {dataset.name} has {classes}")
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (result.labels, result.logits.argmax(1)), 1)
    counts = confusion.sum(1)
    per_class = {
        class_name: float(right / count)
        for class_name, right, count in zip(dataset.class_names, confusion.diagonal(), counts, strict=True)
        if count
    }

    summary = {
        "arch": name,
        "weights": config.weights,
        "dataset": dataset.name,
        "images": result.images,
        "accuracy": result.accuracy,
        "loss": result.loss,
        "tta": config.tta,
        "mean": list(mean),
        "std": list(std),
        "per_class_accuracy": per_class,
        "confusion": confusion.tolist(),
        "device": device(),
        "versions": versions(),
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "evaluation.json").write_text(json.dumps(summary, indent=2) + "\n")
    title = f"{name} on {dataset.name}'s {result.images:,} test images: accuracy {result.accuracy:.4f}"
    plots.confusion(confusion, dataset.class_names, title, out / "confusion.png")
    width = max(map(len, dataset.class_names))
    for class_name, accuracy in per_class.items():
        console.line(f"  {class_name:<{width}}  {accuracy:.4f}")
    console.line(
        f"{name}: accuracy {result.accuracy:.4f}, loss {result.loss:.4f} on {dataset.name}'s "
        f"{result.images:,} test images; more in {out}"
    )
    return summary


def check(config: EvaluateConfig) -> None:
    """Finds what cannot be before anything is read.

    Raises:
        ConfigError: Naming the flag.
    """
    if not config.weights:
        raise ConfigError("--weights FILE is needed: a run's folder, a .safetensors, .pth, .th or .pt file")
    if not Path(config.weights).exists():
        raise ConfigError(f"--weights {config.weights} does not exist")
    if config.batch_size < 1:
        raise ConfigError(f"--batch-size must be more than 0, not {config.batch_size}")
    if bool(config.mean) != bool(config.std) or any(value <= 0 for value in config.std):
        raise ConfigError("--mean and --std go together, a number a channel, --std above 0")
    if trouble := complaint(dataclasses.replace(config, image_size=config.image_size or IMAGE_SIZE)):
        raise ConfigError(trouble)


def read_network(config: EvaluateConfig) -> tuple[str, nn.Module, dict[str, Any], dict[str, Any]]:
    """The network's name, the network, its variables, and what is known of the data it was trained on."""
    if Path(config.weights).is_dir():
        model, variables, written = checkpoint.restore(config.weights, config.which)
        return written["model"]["name"], model, variables, written.get("data", {})
    if config.arch is None:
        raise ConfigError("--arch NAME is needed: a file of weights does not say whose they are")
    if config.dataset in STREAMED:
        classes = load(config, SILENT).class_names
    else:
        classes = lookup(config.dataset).class_names
    options = {} if config.shortcut == "default" else {"shortcut": config.shortcut}
    try:
        model = create_model(
            config.arch, num_classes=len(classes), stem=config.stem, variant=config.variant, **options
        )
    except ValueError as error:
        raise ConfigError(f"--arch {config.arch}: {error}") from None
    return config.arch, model, read_variables(config.weights, model), {}


class MirrorAverage:
    """Predicts the mean of what a network makes of an image and of its mirror image."""

    def __init__(self, apply: Callable[..., Any]) -> None:
        """Takes a module's ``apply``."""
        self._apply = apply

    def apply(self, variables: Any, images: jax.Array, *, train: bool) -> jax.Array:
        """Log-probabilities ``(N, classes)``, which serve as logits."""
        views = [self._apply(variables, view, train=train) for view in (images, images[:, :, ::-1])]
        return jnp.logaddexp(*map(jax.nn.log_softmax, views)) - jnp.log(2.0)
