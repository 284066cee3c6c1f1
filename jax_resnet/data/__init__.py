"""Data sets as uint8 arrays in memory: fetched, verified, stored as tensorflow-datasets does, cached.

    dataset = jax_resnet.data.load("cifar10")
    dataset.train.images  # uint8, (50000, 32, 32, 3)

Importing this needs NumPy alone; TFDS and other libraries are imported when they are needed.
"""

from jax_resnet.data.dataset import ArraySplit, Dataset, Split
from jax_resnet.data.loader import default_data_dir, load
from jax_resnet.data.registry import list_datasets
from jax_resnet.data.reporter import SILENT, PlainReporter, Reporter
from jax_resnet.errors import DataError

__all__ = [
    "SILENT",
    "ArraySplit",
    "DataError",
    "Dataset",
    "PlainReporter",
    "Reporter",
    "Split",
    "default_data_dir",
    "list_datasets",
    "load",
]
