"""The work of ``python -m experiments.evaluate``."""

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.inference.config import EvaluateConfig
from experiments.inference.evaluation import NOT_FINITE, Evaluation, evaluate
from experiments.inference.folding import fold_where_faster
from experiments.inference.network import count_outputs
from experiments.inference.trained import TrainedNetwork, open_network
from experiments.program.compiled import keep_compiled
from experiments.program.console import Console
from experiments.program.errors import ConfigError, ExperimentError
from experiments.runs.confusion import confusion_matrix
from experiments.runs.environment import device, versions
from experiments.runs.folder import CONFUSION, EVALUATION, run_name
from jax_resnet._files import write_text
from jax_resnet.data import Dataset, Split
from jax_resnet.data.augment import normalize
from jax_resnet.data.augment.tta import Views, average_views, flip_and_shift_views, flip_views
from jax_resnet.data.classes import ClassNamesError, match_classes, parse_class_map
from jax_resnet.models.registry import find
from jax_resnet.train import Network, make_eval_step

__all__ = [
    "IMAGE_SIZE",
    "AveragedViews",
    "SelectedOutputs",
    "compare_with_card",
    "default_folder",
    "evaluate_weights",
    "load_for",
    "match_outputs",
    "normalization",
    "per_class_accuracy",
    "print_result",
]

# Height and width of streamed images where neither flag nor run says otherwise.
IMAGE_SIZE = 224
# What --tta averages over.
VIEWS: dict[str, Views] = {"flip": flip_views, "flip-shift": flip_and_shift_views}


def evaluate_weights(config: EvaluateConfig, console: Console) -> dict[str, Any]:
    """Evaluates weights on a test set, prints and writes the result; returns ``evaluation.json``'s content.

    Raises:
        ConfigError: An invalid setting, or weights that do not fit.
        ExperimentError: The loss is not finite.
        jax_resnet.errors.DataError: The data is not available.
        jax_resnet.errors.CheckpointError: The checkpoint cannot be read.
        jax_resnet.errors.WeightsError: The pretrained weights are damaged.
    """
    config.check()
    keep_compiled()
    network = open_network(config.named, config.network, console.line)
    out = Path(config.out or default_folder(config))
    there = [name for name in (EVALUATION, CONFUSION) if (out / name).exists()]
    if there and not config.overwrite:
        raise ConfigError(
            f"{out} holds an evaluation already, {there[0]}: --overwrite it, or name another --out"
        )
    for path in (out, *out.parents):
        if path.exists() and not path.is_dir():
            raise ConfigError(f"--out {out}: {path} is not a folder")
    dataset = load_for(network, config, console)
    mean, std = normalization(network, config, dataset)
    model, variables = fold_where_faster(network.model, network.variables)
    apply: Network = SelectedOutputs(model, match_outputs(network, config, dataset))
    if config.tta != "none":
        apply = AveragedViews(apply, VIEWS[config.tta])
    step = jax.jit(make_eval_step(apply, lambda images: normalize(images, mean, std)))
    with console.progress("evaluation (images)", len(dataset.test)) as advance:
        result = evaluate(step, variables, dataset.test, config.batch_size, advance)
    if not math.isfinite(result.loss):
        raise ExperimentError(f"{config.named} gives a loss of {result.loss} on {dataset.name}: {NOT_FINITE}")
    confusion = confusion_matrix(result.labels, result.logits.argmax(1), dataset.num_classes)
    per_class = per_class_accuracy(confusion, dataset.class_names)
    # Printed before anything that can fail is drawn or written.
    print_result(network.name, dataset, result, per_class, console)
    if comparison := compare_with_card(network, config, dataset, (mean, std), result):
        console.line(comparison)
    summary = {
        "arch": network.name,
        "weights": config.named,
        "which": _which(network, config),
        "settings": network.config.get("config"),  # of the run, by which others know it again
        "dataset": dataset.name,
        "images": result.images,
        "accuracy": result.accuracy,
        "loss": result.loss,
        "tta": config.tta,
        "mean": np.asarray(mean).tolist(),
        "std": list(std),
        "per_class_accuracy": per_class,
        "confusion": confusion.tolist(),
        "device": device(),
        "versions": versions(),
    }
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / EVALUATION, json.dumps(summary, indent=2, allow_nan=False) + "\n")
    title = (
        f"{network.name} on {dataset.name}'s {result.images:,} test images: accuracy {result.accuracy:.4f}"
    )
    from experiments.runs.plots import plot_confusion  # Matplotlib takes long to import

    for note in plot_confusion(confusion, dataset.class_names, title, out / CONFUSION):
        console.line(note)
    console.line(f"{EVALUATION} and {CONFUSION} are in {out}")
    return summary


def _which(network: TrainedNetwork, config: EvaluateConfig) -> str | None:
    """Which checkpoint of a run it is; None for weights that are of no run."""
    if not network.config.get("config"):
        return None
    return "newest undamaged" if network.passed_over else config.network.which


def default_folder(config: EvaluateConfig) -> str:
    """The folder without ``--out``: named after the weights, ``--which last``, the data and ``--tta``."""
    path = Path(config.named)
    weights = path.stem if path.is_file() else run_name(path)
    data = "" if weights.endswith(f".{config.dataset}") else f"-{config.dataset}"
    which = "-last" if config.network.which == "last" else ""
    tta = "" if config.tta == "none" else f"-{config.tta}"
    return f"evaluations/{weights}{which}{data}{tta}"


def load_for(network: TrainedNetwork, config: EvaluateConfig, console: Console) -> Dataset[Split]:
    """The data set, with images of the size that the network takes."""
    size = config.image_size or network.data.get("image_shape", [IMAGE_SIZE])[0]
    dataset = dataclasses.replace(config, image_size=size).load(console, parts=("val", "test"))
    return dataset.padded(find(network.name).image_shape[:2])


def normalization(
    network: TrainedNetwork, config: EvaluateConfig, dataset: Dataset[Split]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation: the flags', else the run's, else the data set's.

    The mean of a run with ``--center per-pixel`` is nested, ``(height, width, channels)``.

    Raises:
        ConfigError: They are not those of images of this shape.
    """
    mean = config.mean or tuple(network.data.get("mean", dataset.mean))
    std = config.std or tuple(network.data.get("std", dataset.std))
    shape = dataset.test.image_shape
    channels = shape[-1]
    if np.ndim(mean) > 1 and np.shape(mean) != shape:
        raise ConfigError(
            f"{config.named} has the mean of every pixel of {_size(np.shape(mean))} images, those of "
            f"{dataset.name} are {_size(shape)}: give --mean and --std"
        )
    if np.shape(mean)[-1] != channels or len(std) != channels:
        if not config.mean and np.shape(mean) != np.shape(dataset.mean):
            raise ConfigError(
                f"{config.named} takes images of {np.shape(mean)[-1]} channels, those of {dataset.name} have "
                f"{channels}: choose another --dataset"
            )
        raise ConfigError(f"--mean and --std need {channels} numbers for the channels of {dataset.name}")
    return mean, std


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def per_class_accuracy(confusion: np.ndarray, class_names: Sequence[str]) -> dict[str, float]:
    """Accuracy of every class that has images."""
    rows = zip(class_names, confusion.diagonal(), confusion.sum(1), strict=True)
    return {name: float(right / count) for name, right, count in rows if count}


def print_result(
    name: str, dataset: Dataset[Split], result: Evaluation, per_class: dict[str, float], console: Console
) -> None:
    """Prints accuracy per class and over all images."""
    width = max(map(len, dataset.class_names))
    for class_name, accuracy in per_class.items():
        console.line(f"  {class_name:<{width}}  {accuracy:.4f}")
    console.line(
        f"{name}: accuracy {result.accuracy:.4f}, loss {result.loss:.4f} on {dataset.name}'s "
        f"{result.images:,} test images"
    )


def compare_with_card(
    network: TrainedNetwork,
    config: EvaluateConfig,
    dataset: Dataset[Split],
    pixels: tuple[tuple[float, ...], tuple[float, ...]],
    result: Evaluation,
) -> str:
    """Whether pretrained weights do as well as their card says, in one line.

    Empty for other weights, and where the card speaks of another evaluation: of another data set, other
    normalization, no test-time augmentation.
    """
    card = network.card
    if (
        card is None
        or config.tta != "none"
        or dataset.name != card.dataset
        or pixels != (card.mean, card.std)
    ):
        return ""
    if result.accuracy == card.test_accuracy and result.images == card.test_images:
        return f"the card of {card.name} says the same accuracy: {card.test_accuracy:.4f}"
    right = round(result.accuracy * result.images), round(card.test_accuracy * card.test_images)
    return (
        f"the card of {card.name} says another accuracy: {card.test_accuracy:.4f}, {right[1]:,} of "
        f"{card.test_images:,} images right instead of {right[0]:,} of {result.images:,}"
    )


def match_outputs(
    network: TrainedNetwork, config: EvaluateConfig, dataset: Dataset[Split]
) -> np.ndarray | None:
    """The output of the network for each class of the data, matched by name; None where all are in order.

    Raises:
        ConfigError: Classes that do not match, with the way to map them.
    """
    outputs = count_outputs(network.variables) or 0
    names = network.data.get("class_names")
    class_map = parse_class_map(config.class_map)
    if names is None and not config.is_streamed and not class_map:
        if outputs != dataset.num_classes:
            raise ConfigError(f"the network has {outputs} classes, {dataset.name} has {dataset.num_classes}")
        return None
    try:
        found = match_classes(names or outputs, dataset.class_names, class_map)
    except ClassNamesError as error:
        raise ConfigError(f"--class-map: {error}") from None
    return None if np.array_equal(found, np.arange(outputs)) else found


class SelectedOutputs:
    """A network with only those outputs that the data has classes for, in the order of the data's labels."""

    def __init__(self, network: Network, outputs: np.ndarray | None) -> None:
        self._network, self._outputs = network, outputs

    def apply(self, variables: Any, images: jax.Array, *, train: bool) -> jax.Array:
        """Logits ``(N, classes of the data)``."""
        logits: jax.Array = self._network.apply(variables, images, train=train)
        return logits if self._outputs is None else logits[:, self._outputs]


class AveragedViews:
    """A network that predicts the mean of its probabilities for several views of an image."""

    def __init__(self, network: Network, views: Views) -> None:
        self._network, self._views = network, views

    def apply(self, variables: Any, images: jax.Array, *, train: bool) -> jax.Array:
        """Log-probabilities ``(N, classes)``, which serve as logits."""
        predict = average_views(lambda view: self._network.apply(variables, view, train=train), self._views)
        return predict(images)
