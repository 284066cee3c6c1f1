"""The work of ``python -m experiments.predict``."""

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
from flax.errors import FlaxError
from rich import box
from rich.console import Console
from rich.table import Table

from experiments.inference.config import PredictConfig
from experiments.inference.evaluation import NOT_FINITE
from experiments.inference.folding import fold_where_faster
from experiments.inference.images import ImageError, Shape, find_images, read_image
from experiments.inference.trained import open_network
from experiments.program.compiled import keep_compiled
from experiments.program.errors import ConfigError, ExperimentError
from jax_resnet._text import first_line
from jax_resnet.data.augment import normalize
from jax_resnet.data.registry import DATASETS, get_spec
from jax_resnet.errors import DataError
from jax_resnet.models.registry import find, usual_image_shape

__all__ = [
    "READERS",
    "Classifier",
    "Prediction",
    "as_json",
    "find_named",
    "load_classifier",
    "predict",
    "predict_images",
    "print_table",
    "usual_input",
]

READERS = 8  # threads; decoding releases Python's lock


class Classifier(NamedTuple):
    """A network and how its inputs are prepared.

    Attributes:
        name: Name of the network.
        class_names: The name of each output.
        shape: How an image becomes an input.
        probabilities: From uint8 ``(N, height, width, channels)`` to float32 ``(N, classes)``.
    """

    name: str
    class_names: Sequence[str]
    shape: Shape
    probabilities: Callable[[np.ndarray], jax.Array]


class Prediction(NamedTuple):
    """The most probable classes of an image with their probabilities, most probable first."""

    path: str
    classes: list[tuple[str, float]]


def predict_images(config: PredictConfig) -> dict[str, str]:
    """Predicts and prints; returns the images that could not be read, each with the reason.

    Raises:
        ConfigError: An invalid setting.
        ExperimentError: The weights hold NaN or infinity, or give probabilities that are not finite.
        jax_resnet.errors.CheckpointError: The checkpoint cannot be read.
    """
    config.check()
    keep_compiled()
    classifier = load_classifier(config)
    unreadable: dict[str, str] = {}
    paths = list(dict.fromkeys(find_named(config.images, unreadable)))
    predictions = list(predict(classifier, paths, config.top, config.batch_size, unreadable))
    if config.json:
        print(json.dumps(as_json(config, classifier, predictions, unreadable), indent=2, allow_nan=False))
    elif predictions:
        print_table(predictions)
    return unreadable


def load_classifier(config: PredictConfig) -> Classifier:
    """The network, and how its images are prepared.

    Raises:
        ConfigError: Weights that do not exist or do not fit, or unknown normalization.
        jax_resnet.errors.CheckpointError: The checkpoint cannot be read.
    """
    usual = get_spec(config.dataset)
    network = open_network(
        config.weights,
        config.network,
        say=lambda line: print(line, file=sys.stderr),
    )
    trained = network.data
    stem = str(getattr(network.model, "stem", ""))
    image_shape = tuple(trained.get("image_shape") or usual_input(network.name, usual.image_shape))
    another_size = config.image_size not in (0, image_shape[0])
    photographs = another_size or (not trained.get("image_shape") and stem.startswith("imagenet"))
    if photographs:
        size = config.image_size or usual_image_shape(network.name, stem)[0]
        image_shape = (size, size, image_shape[-1])
    spec = None if photographs else DATASETS.get(trained.get("name", config.dataset))
    mean, std = config.mean or trained.get("mean"), config.std or trained.get("std")
    if not mean or not std:
        raise ConfigError(
            f"{config.weights} does not say how its pixels were normalized: give --mean and --std"
        )
    per_pixel = np.ndim(mean) > 1  # of a run with --center per-pixel
    if per_pixel and another_size:
        raise ConfigError(f"--image-size: {config.weights} has a mean of every pixel: leave the flag out")
    wanted = image_shape if per_pixel else image_shape[-1:]
    if np.shape(mean) != wanted or len(std) != image_shape[-1]:
        raise ConfigError(f"--mean and --std need {image_shape[-1]} numbers, one per channel")

    model, variables = fold_where_faster(network.model, network.variables)

    @jax.jit
    def probabilities(variables: Any, images: jax.Array) -> jax.Array:
        logits = model.apply(variables, normalize(images, mean, std), train=False)
        return jax.nn.softmax(jnp.asarray(logits))

    blank = jax.ShapeDtypeStruct((1, *image_shape), np.uint8)
    try:
        classes = jax.eval_shape(probabilities, variables, blank).shape[1]
    except (ValueError, TypeError, FlaxError) as error:
        if not config.image_size:
            raise
        raise ConfigError(
            f"--image-size {config.image_size} is not for {network.name}: {first_line(error)}"
        ) from None
    class_names = trained.get("class_names") or usual.class_names
    if len(class_names) != classes:
        class_names = [f"class {label}" for label in range(classes)]
    # Networks for natural images were evaluated on the center of a larger image; MNIST's may be padded.
    shape = Shape(image_shape, spec.image_shape if spec else image_shape, center_crop=spec is None)
    return Classifier(network.name, class_names, shape, partial(probabilities, variables))


def usual_input(name: str, natural: tuple[int, int, int]) -> tuple[int, int, int]:
    """The shape in which a network takes a data set's images: padded where they are smaller than it needs."""
    height, width, _ = find(name).image_shape
    return max(height, natural[0]), max(width, natural[1]), natural[2]


def find_named(images: Sequence[str], unreadable: dict[str, str]) -> Iterator[Path]:
    """The files that the arguments name; what does not exist is added to ``unreadable``."""
    for name in images:
        for line in _lines_of_input() if name == "-" else [name]:
            try:
                yield from find_images(Path(line))
            except DataError as error:
                unreadable[line] = error.reason
            except OSError as error:
                unreadable[line] = (error.strerror or str(error)).lower()


def _lines_of_input() -> Iterator[str]:
    """The lines of standard input that are not empty; names of files are any bytes."""
    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(encoding=sys.getfilesystemencoding(), errors="surrogateescape")
    yield from filter(None, (line.rstrip("\n") for line in sys.stdin))


def predict(
    classifier: Classifier, paths: Sequence[Path], top: int, batch_size: int, unreadable: dict[str, str]
) -> Iterator[Prediction]:
    """Predictions in the order of the paths; a file that cannot be read is added to ``unreadable``."""
    size = min(batch_size, len(paths))
    with ThreadPoolExecutor(READERS) as readers:
        for start in range(0, len(paths), batch_size):
            some = paths[start : start + batch_size]
            read = dict(zip(some, readers.map(partial(_read, shape=classifier.shape), some), strict=True))
            unreadable.update({str(path): image for path, image in read.items() if isinstance(image, str)})
            images = {path: image for path, image in read.items() if isinstance(image, np.ndarray)}
            if not images:
                continue
            # Batches of one size, so that there is one compilation.
            batch = np.zeros((size, *classifier.shape.input), np.uint8)
            batch[: len(images)] = list(images.values())
            for path, row in zip(images, np.asarray(classifier.probabilities(batch)), strict=False):
                if not np.isfinite(row).all():
                    raise ExperimentError(f"{path} gets {row[0]} for a probability: {NOT_FINITE}")
                best = np.argsort(-row, kind="stable")[:top]
                yield Prediction(
                    str(path), [(classifier.class_names[label], float(row[label])) for label in best]
                )


def _read(path: Path, shape: Shape) -> np.ndarray | str:
    try:
        return read_image(path, shape)
    except ImageError as error:
        return error.reason


def as_json(
    config: PredictConfig,
    classifier: Classifier,
    predictions: Iterable[Prediction],
    unreadable: dict[str, str],
) -> dict[str, Any]:
    """The content of ``--json``."""
    return {
        "weights": config.weights,
        "network": classifier.name,
        "images": [
            {"path": path, "predictions": [{"class": name, "probability": p} for name, p in classes]}
            for path, classes in predictions
        ],
        "unreadable": [{"path": path, "reason": reason} for path, reason in unreadable.items()],
    }


def print_table(predictions: Sequence[Prediction]) -> None:
    """Prints a table with one line per image."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("image", overflow="fold")
    for place in range(len(predictions[0].classes)):
        table.add_column(("1st", "2nd", "3rd")[place] if place < 3 else f"{place + 1}th", no_wrap=True)
        table.add_column("%", justify="right", no_wrap=True)
    for path, classes in predictions:
        cells = [cell for name, p in classes for cell in (name, f"{100 * p:.1f}")]
        table.add_row(path, *cells)
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:  # as wide as it needs: a line for a program that reads it stays a line
        console.width = 10_000
        console.width = console.measure(table).maximum
    console.print(table)
