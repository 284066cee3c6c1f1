"""Fixtures that several packages' tests share."""

import os
import tempfile

import numpy as np
import pytest
from PIL import Image

# Many tests compile the same few steps, some in processes of their own: once per session is enough, or once
# per machine where the environment names a folder.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _cache = tempfile.TemporaryDirectory(prefix="jax-cache-", ignore_cleanup_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _cache.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
os.environ["JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES"] = "none"

# Most programs here run once: to compile them well takes longer than to run them.
os.environ.setdefault("XLA_FLAGS", "")
if "xla_backend_optimization_level" not in os.environ["XLA_FLAGS"]:
    os.environ["XLA_FLAGS"] += " --xla_backend_optimization_level=0"

# With several workers (-n 2) each has its own cores: teams of threads on the same cores wait for each other.
if (_worker := os.environ.get("PYTEST_XDIST_WORKER")) and hasattr(os, "sched_setaffinity"):
    _cores = sorted(os.sched_getaffinity(0))
    _mine = _cores[int(_worker.removeprefix("gw")) :: int(os.environ["PYTEST_XDIST_WORKER_COUNT"])]
    os.sched_setaffinity(0, _mine or _cores)

from jax_resnet import data


@pytest.fixture(scope="session")
def cifar10():
    """The real CIFAR-10, where it has been fetched already; tests never fetch it."""
    try:
        return data.load("cifar10", download=False)
    except data.DataError as error:
        pytest.skip(f"the real CIFAR-10 is not in {data.default_data_dir()}: {str(error).splitlines()[0]}")


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory):
    """A folder of JPEGs and PNGs of many sizes: windows of scikit-learn's two photographs, a class each.

    Not to be written to.
    """
    datasets = pytest.importorskip("sklearn.datasets", reason="the photographs are scikit-learn's")
    root = tmp_path_factory.mktemp("image_folder")
    rng = np.random.default_rng(0)
    endings = (".jpg", ".JPG", ".jpeg", ".png")
    for photograph, name in zip(datasets.load_sample_images().images, ("china", "flower"), strict=True):
        for part, count in (("train", 30), ("val", 9)):
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                width, height = rng.integers(40, 160, 2)
                left, upper = rng.integers(640 - width), rng.integers(427 - height)
                window = Image.fromarray(photograph[upper : upper + height, left : left + width])
                if i == 1:
                    window = window.convert("L")
                window.save(root / part / name / f"{i:03d}{endings[i % 4]}")
    return root
