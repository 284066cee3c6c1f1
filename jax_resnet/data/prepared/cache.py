"""Keeps the decoded arrays of a prepared data set in one file, for a start within a second."""

import json
import os
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from jax_resnet.data.dataset import ArrayDataset, ArraySplit, Dataset
from jax_resnet.data.locks import UNFINISHED
from jax_resnet.data.registry import Spec

_FORMAT = 1


def path_for(folder: Path) -> Path:
    """The cache file of the data set whose TFDS folder (of all versions) is `folder`."""
    return folder / "jax_resnet_decoded.npz"


def write(path: Path, dataset: ArrayDataset, fingerprint: str) -> None:
    """Writes the cache, whole or not at all.

    Args:
        path: The file to write.
        dataset: What to keep.
        fingerprint: Identifies the prepared files it was decoded from.

    Raises:
        OSError: if the file cannot be written.
    """
    about = {"format": _FORMAT, "fingerprint": fingerprint, "mean": dataset.mean, "std": dataset.std}
    arrays = {"about": np.array(json.dumps(about))}
    for name, split in (("train", dataset.train), ("test", dataset.test)):
        arrays[f"{name}_images"], arrays[f"{name}_labels"] = split.images, split.labels
        if split.coarse_labels is not None:
            arrays[f"{name}_coarse_labels"] = split.coarse_labels
    handle, temporary = tempfile.mkstemp(prefix=f"{UNFINISHED}decoded-", suffix=".npz", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def read(path: Path, spec: Spec, fingerprint: str) -> ArrayDataset | None:
    """Reads the cache; None where there is none of these files.

    Each array is checked against the CRC-32 that the zip format keeps of it.

    Raises:
        ValueError: if the cache is damaged.
    """
    try:
        # NumPy would leave a file of its own open where it turns out damaged.
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
