"""Fixtures that several packages' tests share."""

import os
import tempfile

import pytest

# Many tests compile the same few steps, some in processes of their own: once a session is enough.
_cache = tempfile.TemporaryDirectory(prefix="jax-cache-", ignore_cleanup_errors=True)
os.environ["JAX_COMPILATION_CACHE_DIR"] = _cache.name
os.environ["JAX_PERSISTENT_COMPILATION_CACHE_MIN_COMPILE_TIME_SECS"] = "0.5"
os.environ["JAX_PERSISTENT_COMPILATION_CACHE_ENABLE_XLA_CACHES"] = "none"

from jax_resnet import data  # noqa: E402


@pytest.fixture(scope="session")
def cifar10():
    """The real CIFAR-10, where it has been fetched already; tests never fetch it."""
    try:
        return data.load("cifar10", download=False)
    except data.DataError as error:
        pytest.skip(f"the real CIFAR-10 is not in {data.default_data_dir()}: {str(error).splitlines()[0]}")
