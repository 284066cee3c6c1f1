"""Which data a program reads, and from where: the flags that training and evaluation share."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

from experiments.program.errors import ConfigError
from experiments.settings.fields import setting
from jax_resnet import data
from jax_resnet.data import Dataset, Reporter, Split
from jax_resnet.data.loader import data_folder
from jax_resnet.data.streaming.dataset import find_prepared, open_streamed
from jax_resnet.data.streaming.folder import PARTS

__all__ = ["STREAMED_DATASETS", "DataSource", "check_pixels"]

# Data sets whose images are decoded as they are needed: folders of images, and ImageNet as TFDS prepares it.
STREAMED_DATASETS = ("folder", "imagenet2012")


@dataclasses.dataclass(frozen=True)
class DataSource:
    """Data."""

    dataset: Literal["cifar10", "cifar100", "mnist", "digits", "folder", "imagenet2012"] = setting(
        "cifar10", "Data set; digits needs no download, folder reads images under --data-dir.", common=True
    )
    data_dir: str | None = setting(
        None,
        "Where data sets are kept (default: TFDS's folder); for folder, what holds train/CLASS/*.jpg.",
        may_change=True,
        common=True,
        metavar="FOLDER",
    )
    archive: str | None = setting(
        None,
        "Read instead of a download: the original archive, its extracted folder, or a copy as Parquet, ARFF "
        "or TFRecord.",
        may_change=True,
        metavar="PATH",
    )
    mirror: tuple[str, ...] = setting(
        (), "URLs to try beside the original host; the fastest comes first.", may_change=True, metavar="URL"
    )
    image_size: int = setting(
        224, "folder, imagenet2012: height and width of the images that the network sees.", above=0
    )
    workers: int = setting(
        2, "folder, imagenet2012: processes that decode images; 0 uses threads.", at_least=0, may_change=True
    )

    skip_unreadable: bool = setting(
        False, "folder, imagenet2012: decode all images first and leave out those that cannot be read."
    )

    @property
    def is_streamed(self) -> bool:
        """Whether images are decoded as they are needed, instead of being held in memory."""
        return self.dataset in STREAMED_DATASETS

    def check(self) -> None:
        """Checks flags that exclude or need each other.

        Raises:
            ConfigError: Naming the flag.
        """
        if self.dataset == "folder" and not self.data_dir:
            raise ConfigError(
                "--dataset folder needs --data-dir FOLDER, which holds train/CLASS/*.jpg and val/CLASS/*.jpg"
            )
        if self.is_streamed and (self.archive or self.mirror):
            raise ConfigError(
                f"--archive and --mirror are not for {self.dataset}, which is read in place: leave them out"
            )

    def load(self, reporter: Reporter, *, parts: Sequence[str] = PARTS) -> Dataset[Split]:
        """Loads the data set, or opens it where it is streamed.

        Args:
            reporter: Gets progress, and a line about everything that is left out.
            parts: The splits of a streamed data set that are needed.

        Raises:
            jax_resnet.data.DataError: It is not available; the message says what helps.
        """
        try:
            return self._load(reporter, parts)
        except PermissionError as error:
            raise data.DataError(
                f"{error.filename or self.data_dir} may not be used by this user: change its permissions, or "
                "name another --data-dir"
            ) from None

    def _load(self, reporter: Reporter, parts: Sequence[str]) -> Dataset[Split]:
        if not self.is_streamed:
            return data.load(
                self.dataset,
                data_dir=self.data_dir,
                archive=self.archive,
                mirrors=self.mirror,
                reporter=reporter,
            )
        root = data_folder(self.data_dir or None)
        folder = root if self.dataset == "folder" else find_prepared(root, self.dataset)
        return open_streamed(
            self.dataset,
            folder,
            image_size=self.image_size,
            workers=self.workers,
            parts=parts,
            skip_unreadable=self.skip_unreadable,
            report=reporter.line,
        )


def check_pixels(mean: Sequence[float], std: Sequence[float]) -> None:
    """Checks ``--mean`` and ``--std``.

    Raises:
        ConfigError: One is missing, they differ in length, or a standard deviation is not positive.
    """
    if len(mean) != len(std) or any(value <= 0 for value in std):
        raise ConfigError("--mean and --std go together, one number per channel, --std above 0")
