"""What ``python -m experiments.predict`` does."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from experiments.evaluate import EvaluateConfig
from experiments.inference.evaluate import check, read_network
from experiments.inference.images import ImageError, Shape, find_images, read_image
from experiments.predict import PredictConfig
from experiments.program.errors import ConfigError
from jax_resnet.data.augment import normalize
from jax_resnet.data.registry import TABLE, lookup
from jax_resnet.models.registry import find

READERS = 8  # threads; decoding releases Python's lock


class Network(NamedTuple):
    """A network and what goes into it.

    Attributes:
        name: Of the network.
        class_names: Of its outputs.
        shape: How a picture becomes its input.
        probabilities: From uint8 ``(N, height, width, channels)`` to float32 ``(N, classes)``.
    """

    name: str
    class_names: Sequence[str]
    shape: Shape
    probabilities: Callable[[np.ndarray], jax.Array]


class Answer(NamedTuple):
    """What a picture shows: the likeliest classes with their probabilities, likeliest first."""

    path: str
    classes: list[tuple[str, float]]


def predict_images(config: PredictConfig) -> dict[str, str]:
    """Predicts and prints as told; returns the pictures that could not be read, and why.

    Raises:
        ConfigError: A setting that cannot be.
        jax_resnet.checkpoint.CheckpointError: The checkpoint cannot be read.
    """
    if config.top < 1:
        raise ConfigError(f"--top must be 1 or more, not {config.top}")
    network = load(config)
    unreadable: dict[str, str] = {}
    paths = list(dict.fromkeys(named(config.images, unreadable)))
    answers = list(predict(network, paths, config.top, config.batch_size, unreadable))
    if config.json:
        print(json.dumps(as_json(config, network, answers, unreadable), indent=2))
    elif answers:
        show(answers)
    return unreadable


def load(config: PredictConfig) -> Network:
    """The network, and how its pictures are to be prepared.

    Raises:
        ConfigError: Weights that are not there or do not fit, or no knowing how pixels are normalized.
        jax_resnet.checkpoint.CheckpointError: The checkpoint cannot be read.
    """
    if not config.checkpoint:
        raise ConfigError("which network? name a run's folder, and then pictures")
    if not config.images:
        raise ConfigError("which pictures? name files or folders, or - for a list on standard input")
    if not Path(config.checkpoint).exists():
        raise ConfigError(f"{config.checkpoint} is not there: name a run's folder, and then pictures")
    weights = EvaluateConfig(
        weights=config.checkpoint,
        arch=config.arch,
        which=config.which,
        dataset=config.dataset,
        mean=config.mean,
        std=config.std,
        batch_size=config.batch_size,
    )
    check(weights)
    name, model, variables, trained = read_network(weights)
    spec = TABLE.get(trained.get("name", config.dataset))
    image_shape = tuple(trained.get("image_shape") or usual_input(name, lookup(config.dataset).image_shape))
    mean, std = config.mean or trained.get("mean"), config.std or trained.get("std")
    if not mean or not std:
        raise ConfigError(
            f"{config.checkpoint} does not say how its pixels were normalized: give --mean and --std"
        )
    if len(mean) != image_shape[-1] or len(std) != image_shape[-1]:
        raise ConfigError(f"--mean and --std need {image_shape[-1]} numbers, one a channel")

    @jax.jit
    def probabilities(variables: Any, images: jax.Array) -> jax.Array:
        return jax.nn.softmax(jnp.asarray(model.apply(variables, normalize(images, mean, std), train=False)))

    blank = jax.ShapeDtypeStruct((1, *image_shape), np.uint8)
    classes = jax.eval_shape(probabilities, variables, blank).shape[1]
    class_names = trained.get("class_names") or lookup(config.dataset).class_names
    if len(class_names) != classes:
        class_names = [f"class {label}" for label in range(classes)]
    # A network for natural pictures was evaluated on the middle of a larger one; MNIST's may be padded.
    shape = Shape(image_shape, spec.image_shape if spec else image_shape, middle=spec is None)
    return Network(name, class_names, shape, partial(probabilities, variables))


def usual_input(name: str, natural: tuple[int, int, int]) -> tuple[int, int, int]:
    """What a data set's images are to a network: padded where they are smaller than it wants them."""
    height, width, _ = find(name).image_shape
    return max(height, natural[0]), max(width, natural[1]), natural[2]


def named(images: Sequence[str], unreadable: dict[str, str]) -> Iterator[Path]:
    """The files that are meant; what is not there is noted."""
    for name in images:
        lines = (line.rstrip("\n") for line in sys.stdin) if name == "-" else [name]
        for line in filter(None, lines):
            try:
                yield from find_images(Path(line))
            except ImageError as error:
                unreadable[line] = str(error)


def predict(
    network: Network, paths: Sequence[Path], top: int, batch_size: int, unreadable: dict[str, str]
) -> Iterator[Answer]:
    """Answers in the order of the paths; a file that cannot be read is noted and left out."""
    size = min(batch_size, len(paths))
    with ThreadPoolExecutor(READERS) as readers:
        for start in range(0, len(paths), batch_size):
            some = paths[start : start + batch_size]
            read = dict(zip(some, readers.map(partial(_read, shape=network.shape), some), strict=True))
            unreadable.update({str(path): image for path, image in read.items() if isinstance(image, str)})
            images = {path: image for path, image in read.items() if isinstance(image, np.ndarray)}
            if not images:
                continue
            # Batches of one size, so that there is one compilation.
            batch = np.zeros((size, *network.shape.input), np.uint8)
            batch[: len(images)] = list(images.values())
            for path, row in zip(images, np.asarray(network.probabilities(batch)), strict=False):
                best = np.argsort(-row, kind="stable")[:top]
                yield Answer(str(path), [(network.class_names[label], float(row[label])) for label in best])


def _read(path: Path, shape: Shape) -> np.ndarray | str:
    try:
        return read_image(path, shape)
    except ImageError as error:
        return str(error)


def as_json(
    config: PredictConfig, network: Network, answers: Iterable[Answer], unreadable: dict[str, str]
) -> dict[str, Any]:
    """What ``--json`` prints."""
    return {
        "checkpoint": config.checkpoint,
        "network": network.name,
        "images": [
            {"path": path, "predictions": [{"class": name, "probability": p} for name, p in classes]}
            for path, classes in answers
        ],
        "unreadable": [{"path": path, "reason": reason} for path, reason in unreadable.items()],
    }


def show(answers: Sequence[Answer]) -> None:
    """Prints a table, a picture a line."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("image", overflow="fold")
    for place in range(len(answers[0].classes)):
        table.add_column(("likeliest", "2nd", "3rd")[place] if place < 3 else f"{place + 1}th", no_wrap=True)
        table.add_column("%", justify="right", no_wrap=True)
    for path, classes in answers:
        cells = [cell for name, p in classes for cell in (name, f"{100 * p:.1f}")]
        table.add_row(path, *cells)
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:  # the table takes what it needs: a line for whoever reads it stays a line
        console.width = Console(width=10_000).measure(table).maximum
    console.print(table)
