"""Data sets: splits of labeled uint8 images, and the facts that every data set has."""

import dataclasses
from collections.abc import Sequence
from typing import Generic, Protocol, Self, TypeVar

import numpy as np

from jax_resnet.data.order import WHOLE, Batches, Shard, epoch_order, rows_of, steps_per_epoch
from jax_resnet.data.padding import pad

__all__ = ["ArrayDataset", "ArraySplit", "Dataset", "Split", "Splits", "channel_statistics", "join_splits"]


class Split(Protocol):
    """Labeled images, in memory (``ArraySplit``) or on disk (``StreamedSplit``)."""

    def __len__(self) -> int:
        """Number of examples."""

    @property
    def labels(self) -> np.ndarray | None:
        """int32, ``(N,)``; None where only reading all examples would tell."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""

    @property
    def fingerprint(self) -> str:
        """A text that changes when examples are added or removed."""

    @property
    def streamed(self) -> bool:
        """True where images are read from disk for each batch, False where they are in memory."""

    def images_at(self, index: Sequence[int] | np.ndarray) -> np.ndarray:
        """The images of these numbers as evaluation sees them.

        Returns:
            uint8 array of shape (len(index), height, width, channels).

        Raises:
            DataError: An image cannot be read.
        """

    def take(self, index: np.ndarray) -> Self:
        """The split of the examples of these numbers, or of those where a boolean mask is true."""

    def padded(self, size: tuple[int, int]) -> Self:
        """The split with images in memory padded to ``(height, width)`` or more."""

    def train_batches(self, batch_size: int, *, seed: int, start: int = 0, shard: Shard = WHOLE) -> Batches:
        """Endless shuffled batches ``{"image", "label", "index"}``, from step ``start`` on.

        A batch is a function of seed and step alone. A resumed run therefore sees the batches that the
        stopped run would have seen, also with another number of processes or workers. Close the iterator to
        end its workers.

        Args:
            batch_size: Number of examples in the global batch.
            seed: Seed of the order.
            start: Step of the first batch.
            shard: Which rows of every batch to yield; all of them by default.

        Raises:
            BatchSizeError: Not even one batch is full, or it cannot be divided equally.
            DataError: An image cannot be read.
        """

    def eval_batches(self, batch_size: int, *, shard: Shard = WHOLE) -> Batches:
        """Every example once, in order: ``{"image", "label", "index", "mask"}``, all batches of one size.

        The last batch is padded with copies of the first example, whose ``mask`` is false: every process
        gets equally many batches of equally many rows, even if some hold padding alone. Close the iterator
        to end its workers.

        Args:
            batch_size: Number of examples in the global batch.
            shard: Which rows of every batch to yield; all of them by default.

        Raises:
            BatchSizeError: The batch is empty or cannot be divided equally.
            DataError: An image cannot be read.
        """


@dataclasses.dataclass(frozen=True, eq=False)
class ArraySplit:
    """A split in memory, its examples in the order of the original archive.

    Attributes:
        images: uint8 array of shape (N, height, width, channels).
        labels: int32 array of shape (N,).
        coarse_labels: int32 array of shape (N,), the superclasses of CIFAR-100; None elsewhere.
    """

    images: np.ndarray
    labels: np.ndarray
    coarse_labels: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        height, width, channels = self.images.shape[1:]
        return height, width, channels

    @property
    def fingerprint(self) -> str:
        """A text that changes with the number of images."""
        return f"{len(self)} images"

    @property
    def streamed(self) -> bool:
        """False: the images are in memory."""
        return False

    def images_at(self, index: Sequence[int] | np.ndarray) -> np.ndarray:
        """The images of these numbers, uint8 ``(len(index), height, width, channels)``."""
        return self.images[np.asarray(index, np.int64)]

    def take(self, index: np.ndarray) -> "ArraySplit":
        """The split of the examples of these numbers, or of those where a boolean mask is true."""
        coarse = self.coarse_labels
        return ArraySplit(self.images[index], self.labels[index], None if coarse is None else coarse[index])

    def padded(self, size: tuple[int, int]) -> "ArraySplit":
        """The split with images padded to ``(height, width)`` or more; see ``padding.pad``."""
        return dataclasses.replace(self, images=pad(self.images, *size))

    def train_batches(self, batch_size: int, *, seed: int, start: int = 0, shard: Shard = WHOLE) -> Batches:
        """Endless shuffled batches, from step ``start`` on; see ``Split.train_batches``.

        Raises:
            BatchSizeError: Not even one batch is full, or it cannot be divided equally.
        """
        per_epoch = steps_per_epoch(len(self), batch_size)
        return self._shuffled(batch_size, per_epoch, seed, start, rows_of(batch_size, shard))

    def _shuffled(self, batch_size: int, per_epoch: int, seed: int, step: int, rows: slice) -> Batches:
        order = None
        while True:
            epoch, position = divmod(step, per_epoch)
            if order is None or position == 0:
                order = epoch_order(len(self), seed, epoch)
            yield self._batch(order[position * batch_size : (position + 1) * batch_size][rows])
            step += 1

    def eval_batches(self, batch_size: int, *, shard: Shard = WHOLE) -> Batches:
        """Every example once, in order; see ``Split.eval_batches``.

        Raises:
            BatchSizeError: The batch is empty or cannot be divided equally.
        """
        return self._in_order(batch_size, rows_of(batch_size, shard))

    def _in_order(self, batch_size: int, rows: slice) -> Batches:
        for start in range(0, len(self), batch_size):
            index = np.arange(start, start + batch_size)[rows]
            mask = index < len(self)
            yield self._batch(np.where(mask, index, 0)) | {"mask": mask}

    def _batch(self, index: np.ndarray) -> dict[str, np.ndarray]:
        return {"image": self.images[index], "label": self.labels[index], "index": index.astype(np.int32)}


SplitT_co = TypeVar("SplitT_co", bound=Split, covariant=True)


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset(Generic[SplitT_co]):
    """A data set: ``Dataset[ArraySplit]`` in memory, ``Dataset[StreamedSplit]`` on disk.

    Attributes:
        name: The name it is loaded by, such as "cifar10".
        train: The training split.
        test: The test split.
        class_names: The name of each label.
        mean: Mean of pixels scaled to [0, 1], per channel.
        std: Standard deviation of pixels scaled to [0, 1], per channel.
        val: The validation split of a data set that has one beside its test split.
    """

    name: str
    train: SplitT_co
    test: SplitT_co
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    val: SplitT_co | None = None

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def streamed(self) -> bool:
        """True where images are read from disk for each batch, False where they are in memory."""
        return self.train.streamed

    def padded(self, size: tuple[int, int]) -> Self:
        """The data set with images in memory padded to ``(height, width)`` or more.

        Larger images, streamed images, ``mean`` and ``std`` stay as they are.
        """
        val = None if self.val is None else self.val.padded(size)
        return dataclasses.replace(self, train=self.train.padded(size), test=self.test.padded(size), val=val)


ArrayDataset = Dataset[ArraySplit]
"""A data set in memory."""

Splits = tuple[ArraySplit, ArraySplit]
"""The training and the test split."""


def join_splits(splits: Sequence[ArraySplit]) -> ArraySplit:
    """The examples of several splits, one after another; with coarse labels where all of them have some."""
    coarse = [split.coarse_labels for split in splits if split.coarse_labels is not None]
    return ArraySplit(
        images=np.concatenate([split.images for split in splits]),
        labels=np.concatenate([split.labels for split in splits]),
        coarse_labels=np.concatenate(coarse) if len(coarse) == len(splits) else None,
    )


def channel_statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel, of all pixels of all images scaled to [0, 1].

    Args:
        images: uint8 array of shape (N, height, width, channels).

    Returns:
        The means and the (population) standard deviations, a float each per channel.
    """
    values = np.arange(256) / 255
    means, stds = [], []
    for channel in range(images.shape[-1]):
        # A histogram of 256 values holds everything and never sums 50 million rounded floats.
        counts = np.bincount(images[..., channel].ravel(), minlength=256)
        mean = float(np.average(values, weights=counts))
        means.append(mean)
        stds.append(float(np.sqrt(np.average((values - mean) ** 2, weights=counts))))
    return tuple(means), tuple(stds)
