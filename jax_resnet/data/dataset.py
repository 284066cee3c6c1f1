"""What every data set is, once in memory: two splits of uint8 images, and a few facts."""

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Examples in the order of the original archive.

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
        """Changes with how many there are."""
        return f"{len(self)} images"

    def images_at(self, index: Sequence[int] | np.ndarray) -> np.ndarray:
        """A few examples, uint8 ``(len(index), height, width, channels)``."""
        return self.images[np.asarray(index, np.int64)]

    def take(self, index: np.ndarray) -> "Split":
        """The split of the examples of these numbers, or of those that a mask marks."""
        coarse = self.coarse_labels
        return Split(self.images[index], self.labels[index], None if coarse is None else coarse[index])


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in memory.

    Attributes:
        name: The name it is loaded by, such as "cifar10".
        train: The training split.
        test: The test split.
        class_names: The name of each label.
        mean: Mean of the training images per channel, of pixels scaled to [0, 1].
        std: Standard deviation of the training images per channel, in the same units.
    """

    name: str
    train: Split
    test: Split
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)


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
