"""Images that tensorflow-datasets prepared as ArrayRecord files, such as ImageNet; needs no TensorFlow."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from jax_resnet._text import first_line
from jax_resnet.data.images import ImageError
from jax_resnet.errors import DataError

__all__ = ["ARRAY_RECORD", "RecordImages", "forms", "is_prepared", "read_records"]

ARRAY_RECORD = "array_record"

SPLITS = {"train": "train", "validation": "val", "test": "test"}  # TFDS's names and ours


@dataclasses.dataclass(frozen=True, eq=False)
class RecordImages:
    """Encoded images by number, in the order of the files.

    Attributes:
        source: TFDS's data source, which reads one record at a time.
        where: The data set's folder and the split's name, for messages.
        labels: None: to know them all, all records must be read.
    """

    source: Any
    where: str
    labels: None = None

    def __len__(self) -> int:
        return len(self.source)

    @property
    def fingerprint(self) -> str:
        """Changes when the data set grows or shrinks."""
        return f"{len(self)} records"

    def read(self, index: int) -> tuple[bytes, int]:
        """The encoded image, and the label.

        Raises:
            ImageError: The record cannot be read.
        """
        try:
            record = self.source[index]
            return record["image"], int(record["label"])
        except Exception as error:  # damaged records fail in many ways
            raise ImageError(self.name(index), first_line(error)) from error

    def name(self, index: int) -> str:
        """The split and the record's number."""
        return f"{self.where}, record {index}"


def is_prepared(folder: Path) -> bool:
    """Whether a folder is one version of a data set of TFDS."""
    return (folder / "dataset_info.json").is_file()


def read_records(folder: Path) -> tuple[dict[str, RecordImages], tuple[str, ...]]:
    """Opens the splits of a data set with the features "image" and "label".

    Args:
        folder: One version of a data set, such as ``~/tensorflow_datasets/imagenet2012/5.1.0``.

    Returns:
        The splits by name ("train", "val", "test"), and the classes' names. A test split without labels, as
        ImageNet's, is left aside.

    Raises:
        DataError: naming the folder, if it is something else.
    """
    _check_format(folder)
    try:
        sources, classes = _open(folder)
        if len(sources) > 2 and sources["test"].read(0)[1] < 0:
            del sources["test"]
    except Exception as error:  # anything that TFDS makes of files that are missing or not its own
        raise DataError(
            f"{folder} holds no images with labels that could be read ({first_line(error)})"
        ) from error
    if "train" not in sources or len(sources) < 2:
        raise DataError(
            f"{folder} has {' and '.join(sources) or 'no split'}: train and validation are needed"
        )
    return sources, classes


def forms(folder: Path) -> list[str]:
    """The forms in which a prepared data set's records are there, such as "tfrecord" and "array_record".

    Raises:
        DataError: The folder does not say.
    """
    path = folder / "dataset_info.json"
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
        return [info.get("fileFormat", "tfrecord"), *info.get("alternativeFileFormats", ())]
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise DataError(f"{path} is not a data set's description ({first_line(error)})") from error


def _check_format(folder: Path) -> None:
    if ARRAY_RECORD not in (found := forms(folder)):
        raise DataError(
            f"{folder} is in {found[0]} form, which cannot be read record by record: "
            f'prepare it with file_format="{ARRAY_RECORD}"'
        )


def _open(folder: Path) -> tuple[dict[str, RecordImages], tuple[str, ...]]:
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(str(folder))
    label = builder.info.features["label"]
    decoders = {"image": tfds.decode.SkipDecoding()}
    sources = {
        ours: RecordImages(builder.as_data_source(theirs, decoders=decoders), f"{folder}, {theirs}")
        for theirs, ours in SPLITS.items()
        if theirs in builder.info.splits
    }
    return sources, tuple(label.names)
