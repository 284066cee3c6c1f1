"""A split of images on disk: read, decoded, cropped and batched by grain while the device computes.

The content of a batch, pixel for pixel, is a function of seed and step alone. It does not depend on the
number of workers, on the processes that share the batch, or on where a run was stopped. The state of such a
stream is therefore one number: the examples that all processes together have consumed.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, Protocol, Self

import numpy as np

from jax_resnet.data.images import decode_image
from jax_resnet.data.order import WHOLE, Batches, Shard, epoch_order, rows_of, steps_per_epoch
from jax_resnet.data.streaming.transforms import center_crop, random_resized_crop
from jax_resnet.data.streaming.workers import Work, run

__all__ = ["Source", "StreamedSplit"]

# grain needs an end; no training reaches this one.
ENDLESS = 1 << 62


class Source(Protocol):
    """Encoded images by number."""

    @property
    def labels(self) -> np.ndarray | None:
        """int32, (N,); None where only reading all examples would tell."""

    @property
    def fingerprint(self) -> str:
        """A text that changes with the examples or their order."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """A name by which a person finds the image."""

    def read(self, index: int) -> tuple[bytes, int]:
        """The encoded image and its label."""


@dataclasses.dataclass(frozen=True, eq=False)
class StreamedSplit:
    """A split whose images stay on disk.

    Attributes:
        source: The encoded images.
        index: The numbers of this split's images in the source, int64 array of shape (N,).
        image_size: Height and width of the images that batches hold, in pixels.
        workers: Number of processes that decode; 0 for threads of this process.
    """

    source: Source
    index: np.ndarray
    image_size: int
    workers: int = 0

    def __len__(self) -> int:
        return len(self.index)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return self.image_size, self.image_size, 3

    @property
    def labels(self) -> np.ndarray | None:
        """int32, (N,); None where only reading all examples would tell."""
        return None if self.source.labels is None else self.source.labels[self.index]

    @property
    def fingerprint(self) -> str:
        """A text that changes with the source and with the number of its examples that are here."""
        return f"{len(self)} of {self.source.fingerprint}"

    @property
    def streamed(self) -> bool:
        """True: the images stay on disk."""
        return True

    def padded(self, size: tuple[int, int]) -> Self:
        """The split itself: its images come out in ``image_size``."""
        return self

    def take(self, index: np.ndarray) -> Self:
        """The split of the examples of these numbers, or of those where a boolean mask is true."""
        return dataclasses.replace(self, index=self.index[index])

    def images_at(self, index: Sequence[int] | np.ndarray) -> np.ndarray:
        """The images of these numbers as evaluation sees them, uint8 ``(len(index), height, width, 3)``.

        Raises:
            DataError: An image cannot be read; the message names it.
        """
        images = np.empty((len(index), *self.image_shape), np.uint8)
        for image, number in zip(images, index, strict=True):
            image[:] = self._eval_example(number)["image"]
        return images

    def train_batches(self, batch_size: int, *, seed: int, start: int = 0, shard: Shard = WHOLE) -> Batches:
        """Endless shuffled batches, each image cut at random; see ``Split.train_batches``.

        The order is that of a split in memory.

        Raises:
            BatchSizeError: Not even one batch is full, or it cannot be divided equally.
            DataError: An image cannot be read; the message names it.
        """
        steps_per_epoch(len(self), batch_size)  # refuses a batch that cannot be filled
        rows = rows_of(batch_size, shard)
        local = rows.stop - rows.start

        load = partial(self._train_example, batch_size, rows, seed)
        return run(Work(load, start * local, ENDLESS, local), self.workers)

    def eval_batches(self, batch_size: int, *, shard: Shard = WHOLE) -> Batches:
        """Every image once, in order, resized and cut to its middle; see ``Split.eval_batches``.

        Raises:
            BatchSizeError: The batch is empty or cannot be divided equally.
            DataError: An image cannot be read; the message names it.
        """
        rows = rows_of(batch_size, shard)
        local = rows.stop - rows.start
        count = -(-len(self) // batch_size)

        load = partial(self._padded_example, batch_size, rows)
        return run(Work(load, 0, count * local, local), self.workers)

    def _train_example(self, batch_size: int, rows: slice, seed: int, place: int) -> dict[str, Any]:
        """The example at a place in this process's part of the endless order that all processes share."""
        step, row = _find(place, rows)
        position = step * batch_size + row
        epoch, step_of_epoch = divmod(step, steps_per_epoch(len(self), batch_size))
        number = _epoch_order(len(self), seed, epoch)[step_of_epoch * batch_size + row]
        rng = np.random.default_rng([seed, 2, position])
        return self._load(number, lambda image: random_resized_crop(image, self.image_size, rng))

    def _padded_example(self, batch_size: int, rows: slice, place: int) -> dict[str, Any]:
        batch, row = _find(place, rows)
        number = batch * batch_size + row
        real = number < len(self)
        return {**self._eval_example(number if real else 0), "mask": np.bool_(real)}

    def _eval_example(self, number: int) -> dict[str, Any]:
        return self._load(number, lambda image: center_crop(image, self.image_size))

    def _load(self, number: int, cut: Callable[[Any], np.ndarray]) -> dict[str, Any]:
        index = int(self.index[number])
        encoded, label = self.source.read(index)
        image = cut(decode_image(encoded, self.source.name(index)))
        return {"image": image, "label": np.int32(label), "index": np.int32(number)}


def _find(place: int, rows: slice) -> tuple[int, int]:
    """The number of the batch, and the row in the global batch, of a place in a process's part."""
    batch, row = divmod(place, rows.stop - rows.start)
    return batch, rows.start + row


# Near the end of an epoch, threads ask for this epoch's order and the next one's.
_epoch_order = lru_cache(maxsize=2)(epoch_order)
