"""Pictures too many for memory: read, decoded, cut and batched by grain while the device computes.

What a batch holds, pixel for pixel, is a function of seed and step alone: not of the number of workers, nor
of the processes that share it, nor of where a run was stopped. So the state of such a stream is one number,
the examples that all processes together have consumed.
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

# An end that no training reaches: grain wants to know one.
ENDLESS = 1 << 62


class Source(Protocol):
    """Encoded pictures by number."""

    @property
    def labels(self) -> np.ndarray | None:
        """int32, (N,); None where only reading everything would tell."""

    @property
    def fingerprint(self) -> str:
        """Of what there is, in which order."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """How a person finds the picture."""

    def read(self, index: int) -> tuple[bytes, int]:
        """The encoded picture and its label."""


@dataclasses.dataclass(frozen=True, eq=False)
class StreamedSplit:
    """A split whose pictures stay where they are.

    Attributes:
        source: The pictures.
        index: Which of them, int64, (N,).
        image_size: Height and width of what comes out, in pixels.
        workers: Processes that decode; 0 for threads of this one.
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
        """int32, (N,); None where only reading everything would tell."""
        return None if self.source.labels is None else self.source.labels[self.index]

    @property
    def fingerprint(self) -> str:
        """Changes with what there is and in which order."""
        return f"{len(self)} of {self.source.fingerprint}"

    @property
    def streamed(self) -> bool:
        """True: the images stay on disk."""
        return True

    def padded(self, size: tuple[int, int]) -> Self:
        """The split itself: its images come out in ``image_size``."""
        return self

    def take(self, index: np.ndarray) -> Self:
        """The split of the examples of these numbers, or of those that a mask marks."""
        return dataclasses.replace(self, index=self.index[index])

    def images_at(self, index: Sequence[int] | np.ndarray) -> np.ndarray:
        """A few examples as evaluation sees them, uint8 ``(len(index), height, width, 3)``.

        Raises:
            DataError: naming a picture that cannot be read.
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
        """The example at a place of this process's part of the endless order that all share."""
        step, row = _find(place, rows)
        position = step * batch_size + row
        epoch, step_of_epoch = divmod(step, steps_per_epoch(len(self), batch_size))
        number = _epoch_order(len(self), seed, epoch)[step_of_epoch * batch_size + row]
        rng = np.random.default_rng([seed, 2, position])
        return self._load(number, lambda picture: random_resized_crop(picture, self.image_size, rng))

    def _padded_example(self, batch_size: int, rows: slice, place: int) -> dict[str, Any]:
        batch, row = _find(place, rows)
        number = batch * batch_size + row
        real = number < len(self)
        return {**self._eval_example(number if real else 0), "mask": np.bool_(real)}

    def _eval_example(self, number: int) -> dict[str, Any]:
        return self._load(number, lambda picture: center_crop(picture, self.image_size))

    def _load(self, number: int, cut: Callable[[Any], np.ndarray]) -> dict[str, Any]:
        index = int(self.index[number])
        encoded, label = self.source.read(index)
        image = cut(decode_image(encoded, self.source.name(index)))
        return {"image": image, "label": np.int32(label), "index": np.int32(number)}


def _find(place: int, rows: slice) -> tuple[int, int]:
    """The batch, and the row in the whole of it, of what a process with these rows has at a place."""
    batch, row = divmod(place, rows.stop - rows.start)
    return batch, rows.start + row


# Near the end of an epoch threads ask for this one and the next.
_epoch_order = lru_cache(maxsize=2)(epoch_order)
