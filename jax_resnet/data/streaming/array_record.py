"""Pictures that tensorflow-datasets prepared as ArrayRecord files, such as ImageNet; needs no TensorFlow."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from jax_resnet.errors import DataError


@dataclasses.dataclass(frozen=True, eq=False)
class RecordImages:
    """Encoded pictures by number, in the order of the files.

    Attributes:
        source: TFDS's data source, which reads one record at a time.
        where: The data set's folder and the split's name, for messages.
        labels: None: to know them all is to read everything.
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
        """The encoded picture, and the label.

        Raises:
            DataError: naming the record, if it cannot be read.
        """
        try:
            record = self.source[index]
            return record["image"], int(record["label"])
        except Exception as error:  # damaged records fail in many ways
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise DataError(f"{self.name(index)} cannot be read ({reason})") from error

    def name(self, index: int) -> str:
        """The split and the record's number."""
        return f"{self.where}, record {index}"


def is_prepared(folder: Path) -> bool:
    """Whether a folder is one version of a data set of TFDS."""
    return (folder / "dataset_info.json").is_file()


def read_records(folder: Path) -> tuple[dict[str, RecordImages], tuple[str, ...]]:
    """Opens the splits of a data set with the features "image" and "label".

    Args:
        folder: Of one version, such as ``~/tensorflow_datasets/imagenet2012/5.1.0``.

    Returns:
        The splits by name ("train", "val", "test"), and the classes' names.

    Raises:
        DataError: naming the folder, if it is something else.
    """
    import tensorflow_datasets as tfds

    form = json.loads((folder / "dataset_info.json").read_text()).get("fileFormat", "tfrecord")
    if form != "array_record":
        raise DataError(
            f"{folder} is in {form} form, which cannot be read record by record: "
            'prepare it with file_format="array_record"'
        )
    try:
        builder = tfds.builder_from_directory(str(folder))
        label = builder.info.features["label"]
        decoders = {"image": tfds.decode.SkipDecoding()}
        names = {"train": "train", "validation": "val", "test": "test"}
        sources = {
            ours: RecordImages(builder.as_data_source(theirs, decoders=decoders), f"{folder}, {theirs}")
            for theirs, ours in names.items()
            if theirs in builder.info.splits
        }
        classes = tuple(label.names)
        if len(sources) > 2 and sources["test"].read(0)[1] < 0:
            del sources["test"]  # ImageNet's has no labels
    except Exception as error:  # whatever TFDS makes of files that are not there or not its own
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{folder} holds no images with labels that could be read ({reason})") from error
    if "train" not in sources or len(sources) < 2:
        raise DataError(
            f"{folder} has {' and '.join(sources) or 'no split'}: train and validation are needed"
        )
    return sources, classes
