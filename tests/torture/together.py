"""Four processes that build the extension at once, or prepare the same data at once."""

import os
import shutil
import tarfile
import tempfile
from pathlib import Path

import numpy as np

from jax_resnet import data
from jax_resnet.layers.onednn.library import load
from tests.layers.onednn.programs import CONVOLVE
from tests.torture.common import Programs, Row, count, expect

PROCESSES = 4
PREPARE = """
import sys, hashlib
from jax_resnet import data
found = data.load("cifar10", archive=sys.argv[1], data_dir=sys.argv[2])
print(hashlib.sha256(found.train.images.tobytes() + found.test.labels.tobytes()).hexdigest())
"""


def together(programs: Programs, tries: int) -> list[Row]:
    rows = []
    if load().library is None:
        rows.append(Row("4 processes build the extension", 0, 0, f"not run: {load().reason}"))
    else:
        cases = [lambda: build(programs)] * tries
        rows.append(count("4 processes build the extension at once", cases))
    try:
        real = data.load("cifar10", download=False)
    except data.DataError:
        rows.append(Row("4 processes prepare CIFAR-10", 0, 0, "not run: the real CIFAR-10 is not here"))
        return rows
    archive = write_archive(programs.folder / "cifar-10-binary.tar.gz", real)
    rows.append(
        count("4 processes prepare CIFAR-10 at once", [lambda: prepare(programs, archive, real)] * tries)
    )
    return rows


def outputs(programs: Programs, *command: object, **environment: str) -> list[str]:
    """What the processes print, started at once."""
    running = [programs.start(*command, **environment) for _ in range(PROCESSES)]
    printed = []
    for process in running:
        output, error = process.communicate(timeout=1800)
        expect(process.returncode == 0, f"exit code {process.returncode}: {error[-300:]}")
        printed.append(output)
    return printed


def build(programs: Programs) -> None:
    cache = programs.folder / "extension"
    code = "\n".join(line[4:] for line in CONVOLVE.splitlines())
    try:
        environment = {"JAX_RESNET_CACHE": str(cache), "JAX_RESNET_CONV": "auto"}
        for output in outputs(programs, "-c", code, **environment):
            expect(output.startswith("onednn "), f"not in use: {output}")
        left = os.listdir(cache / "onednn")
        expect(len(left) == 1, f"in the cache: {left}")
    finally:
        shutil.rmtree(cache, ignore_errors=True)


def prepare(programs: Programs, archive: Path, real: data.Dataset) -> None:
    import hashlib

    expected = hashlib.sha256(real.train.images.tobytes() + real.test.labels.tobytes()).hexdigest()
    with tempfile.TemporaryDirectory(dir=programs.folder) as folder:
        for output in outputs(programs, "-c", PREPARE, archive, folder):
            expect(output.strip() == expected, "other images or labels")
        left = [path.name for path in Path(folder).rglob("*") if "incomplete" in path.name]
        expect(not left, f"left behind: {left}")


def write_archive(path: Path, real: data.Dataset) -> Path:
    """The real images in the layout of the original archive."""
    folder = path.with_name("cifar-10-batches-bin")
    folder.mkdir()
    parts = {f"data_batch_{i + 1}.bin": (real.train, 10_000 * i) for i in range(5)}
    for name, (split, start) in {**parts, "test_batch.bin": (real.test, 0)}.items():
        images = split.images[start : start + 10_000].transpose(0, 3, 1, 2).reshape(10_000, -1)
        labels = split.labels[start : start + 10_000, None].astype(np.uint8)
        (folder / name).write_bytes(np.concatenate([labels, images], axis=1).tobytes())
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        tar.add(folder, folder.name)
    shutil.rmtree(folder)
    return path
