"""The data set that the flags name: in memory where it fits, else streamed."""

from pathlib import Path
from typing import Protocol

from jax_resnet import data
from jax_resnet.data import Dataset, Reporter, Split
from jax_resnet.data.streaming.dataset import find_prepared, open_streamed

# Pictures in folders, or what TFDS prepared; ImageNet as TFDS has it.
STREAMED = ("folder", "imagenet2012")


class Wanted(Protocol):
    """The flags that say which data, and how."""

    @property
    def dataset(self) -> str:
        """Its name."""

    @property
    def data_dir(self) -> str | None:
        """Where it is, or is to be kept."""

    @property
    def archive(self) -> str | None:
        """What to read it from."""

    @property
    def mirror(self) -> tuple[str, ...]:
        """Where else to fetch it from."""

    @property
    def image_size(self) -> int:
        """Of streamed pictures."""

    @property
    def workers(self) -> int:
        """Processes that decode streamed pictures."""


def load(wanted: Wanted, reporter: Reporter) -> Dataset[Split]:
    """Loads or opens it.

    Raises:
        jax_resnet.data.DataError: It is not to be had.
    """
    if wanted.dataset not in STREAMED:
        return data.load(
            wanted.dataset,
            data_dir=wanted.data_dir,
            archive=wanted.archive,
            mirrors=wanted.mirror,
            reporter=reporter,
        )
    root = Path(wanted.data_dir).expanduser() if wanted.data_dir else data.default_data_dir()
    folder = root if wanted.dataset == "folder" else find_prepared(root, wanted.dataset)
    return open_streamed(wanted.dataset, folder, image_size=wanted.image_size, workers=wanted.workers)


def complaint(wanted: Wanted) -> str | None:
    """What is wrong with the flags, if anything, before anything is read."""
    if wanted.image_size < 1:
        return f"--image-size must be more than 0, not {wanted.image_size}"
    if wanted.workers < 0:
        return f"--workers must be 0 or more, not {wanted.workers}"
    if wanted.dataset == "folder" and not wanted.data_dir:
        return "--dataset folder needs --data-dir FOLDER, which holds train/CLASS/*.jpg and val/CLASS/*.jpg"
    if wanted.dataset in STREAMED and (wanted.archive or wanted.mirror):
        return f"--archive and --mirror are not for {wanted.dataset}, which read where it is: leave them out"
    return None
