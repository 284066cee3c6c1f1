"""From a data set to the splits that a run trains, validates and tests on."""

import dataclasses
from typing import Any

import numpy as np

from experiments.program.errors import ConfigError
from experiments.settings.config import Config
from jax_resnet.data import ArraySplit, Dataset, Split
from jax_resnet.data.augment import mean_image
from jax_resnet.data.order import steps_per_epoch
from jax_resnet.data.splits import hold_out
from jax_resnet.errors import BatchSizeError, ValSizeError
from jax_resnet.models.registry import find

__all__ = ["TrainingData", "prepare_data", "split_training"]

# Images held out unless --val-size says otherwise: the 5,000 of He et al. 2015, or this fraction of fewer.
HELD_OUT, HELD_OUT_FRACTION = 5000, 0.1
MOST_STEPS = 2**31 - 1  # steps are counted in int32


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """The splits of a run and how their pixels are normalized.

    Attributes:
        name: Name of the data set.
        train: Images to train on.
        val: Images held out to choose a checkpoint, or None.
        test: The test set.
        class_names: The name of each label.
        mean: Per-channel mean of pixels scaled to [0, 1], or the mean of every pixel, ``(H, W, C)``.
        std: Per-channel standard deviation of pixels scaled to [0, 1].
        steps_per_epoch: Full batches in one pass.
        total_steps: Steps of the whole training.
    """

    name: str
    train: Split
    val: Split | None
    test: Split
    class_names: tuple[str, ...]
    mean: tuple[float, ...] | np.ndarray
    std: tuple[float, ...]
    steps_per_epoch: int
    total_steps: int

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """``(height, width, channels)``."""
        return self.train.image_shape

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def metadata(self) -> dict[str, Any]:
        """What a reader of a checkpoint needs to know, as JSON can hold it."""
        return {
            "name": self.name,
            "mean": np.asarray(self.mean).tolist(),
            "std": list(self.std),
            "class_names": list(self.class_names),
            "image_shape": list(self.image_shape),
        }


def prepare_data(config: Config, dataset: Dataset[Split]) -> TrainingData:
    """Pads small images, holds out a validation set and counts steps.

    Raises:
        ConfigError: Settings that do not fit the data; the message names the flag.
    """
    dataset = dataset.padded(find(config.model.arch).image_shape[:2])
    try:
        train, val = split_training(config, dataset)
        per_epoch = steps_per_epoch(len(train), config.optim.batch_size)
    except ValSizeError as error:
        raise ConfigError(f"--val-size: {error}") from None
    except BatchSizeError as error:
        raise ConfigError(f"--batch-size: {error}") from None
    total_steps = config.optim.steps or config.optim.epochs * per_epoch
    if total_steps > MOST_STEPS:
        flag = "--steps" if config.optim.steps else "--epochs"
        raise ConfigError(f"{flag}: a training has at most {MOST_STEPS:,} steps, not {total_steps:,}")
    data = TrainingData(
        name=dataset.name,
        train=train,
        val=val,
        test=dataset.test,
        class_names=tuple(dataset.class_names),
        mean=config.data.mean or dataset.mean,
        std=config.data.std or dataset.std,
        steps_per_epoch=per_epoch,
        total_steps=total_steps,
    )
    if config.data.center == "per-pixel":
        data = dataclasses.replace(data, mean=_mean_of_pixels(train))
    channels = data.image_shape[-1]
    if np.shape(data.mean)[-1] != channels or len(data.std) != channels:
        raise ConfigError(f"--mean and --std need {channels} numbers for the channels of {data.name}")
    return data


def _mean_of_pixels(train: Split) -> np.ndarray:
    """The mean of every pixel of the images to train on, to six decimals: what a checkpoint's JSON says."""
    if not isinstance(train, ArraySplit):
        raise ConfigError("--center per-pixel needs images in memory: leave it out for streamed data")
    return mean_image(train.images).astype(np.float64).round(6)


def split_training(config: Config, dataset: Dataset[Split]) -> tuple[Split, Split | None]:
    """The images to train on, and those held out: the data set's own validation split where it has one.

    Raises:
        ConfigError: Images are to be held out, and there is a validation split already.
        ValSizeError: The validation set would take all images of a class.
    """
    size = config.data.val_size
    if size and dataset.val is not None and not config.run.resume:  # older runs may have been begun so
        raise ConfigError(
            f"--val-size {size} holds out training images, and the data has a validation split of its own: "
            "leave it out"
        )
    if size is None:
        size = min(HELD_OUT, int(HELD_OUT_FRACTION * len(dataset.train)))
    if dataset.val is not None or not size:
        return dataset.train, dataset.val
    return hold_out(dataset.train, size, config.run.seed)
