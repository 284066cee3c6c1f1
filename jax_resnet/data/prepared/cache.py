"""A cache of the decoded arrays of a prepared data set in one file, for a start within a second."""

import contextlib
import json
import time
import zipfile
from pathlib import Path

import numpy as np

from jax_resnet._files import replacing
from jax_resnet.data.dataset import ArrayDataset, ArraySplit, Dataset
from jax_resnet.data.registry import DatasetSpec

__all__ = ["cache_path", "read_cache", "write_cache"]

_FORMAT = 1
# The age after which a draft is a killed process's; a younger one may be in the making.
_DRAFT_SECONDS = 3600


def cache_path(folder: Path) -> Path:
    """The cache file of a data set; ``folder`` is its TFDS folder, which holds all versions."""
    return folder / "jax_resnet_decoded.npz"


def write_cache(path: Path, dataset: ArrayDataset, fingerprint: str) -> None:
    """Writes the cache, whole or not at all.

    Args:
        path: The file to write.
        dataset: The data set to keep.
        fingerprint: Identifies the prepared files that the arrays were decoded from.

    Raises:
        OSError: The file cannot be written.
    """
    about = {"format": _FORMAT, "fingerprint": fingerprint, "mean": dataset.mean, "std": dataset.std}
    arrays = {"about": np.array(json.dumps(about))}
    for name, split in (("train", dataset.train), ("test", dataset.test)):
        arrays[f"{name}_images"], arrays[f"{name}_labels"] = split.images, split.labels
        if split.coarse_labels is not None:
            arrays[f"{name}_coarse_labels"] = split.coarse_labels
    for left in path.parent.glob(f".{path.name}.*.tmp"):  # by a process that was killed, if it is old
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _DRAFT_SECONDS:
                left.unlink()
    with replacing(path) as draft, draft.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def read_cache(path: Path, spec: DatasetSpec, fingerprint: str) -> ArrayDataset | None:
    """Reads the cache; None where there is no cache of these prepared files.

    The zip format keeps a CRC-32 of each array, which is checked.

    Raises:
        ValueError: The cache is damaged.
    """
    try:
        # Opened here, because NumPy leaves a damaged file open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            about = json.loads(str(arrays["about"]))
            if about["format"] != _FORMAT or about["fingerprint"] != fingerprint:
                return None
            train, test = (
                ArraySplit(
                    arrays[f"{name}_images"],
                    arrays[f"{name}_labels"],
                    arrays[f"{name}_coarse_labels"] if spec.coarse_names else None,
                )
                for name in ("train", "test")
            )
    except FileNotFoundError:
        return None
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is damaged") from error
    return Dataset(spec.name, train, test, spec.class_names, tuple(about["mean"]), tuple(about["std"]))
