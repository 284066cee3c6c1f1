"""Strict promotion: what the library computes converts dtypes explicitly."""

from collections.abc import Iterator

import jax
import pytest

__all__ = ["standard_promotion", "strict_promotion"]


@pytest.fixture(autouse=True)
def strict_promotion() -> Iterator[None]:
    """No implicit promotion of dtypes while a test runs."""
    with jax.numpy_dtype_promotion("strict"):
        yield


@pytest.fixture
def standard_promotion(strict_promotion: None) -> Iterator[None]:
    """JAX's own rules, for tests of what does not work with strict promotion, such as optax's Adam."""
    with jax.numpy_dtype_promotion("standard"):
        yield
