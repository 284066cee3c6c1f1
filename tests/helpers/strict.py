"""Strict promotion: what the library computes converts dtypes and broadcasts ranks explicitly."""

from collections.abc import Iterator

import jax
import pytest

__all__ = ["standard_promotion", "strict_dtypes", "strict_promotion"]


@pytest.fixture(autouse=True)
def strict_promotion() -> Iterator[None]:
    """No implicit promotion of dtypes or ranks while a test runs."""
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture(autouse=True)
def strict_dtypes() -> Iterator[None]:
    """No implicit promotion of dtypes; for tests with ``data.augment``, which broadcasts means and scales."""
    with jax.numpy_dtype_promotion("strict"):
        yield


@pytest.fixture
def standard_promotion(request: pytest.FixtureRequest) -> Iterator[None]:
    """JAX's own rules, for tests of what does not work with strict promotion, such as optax's Adam."""
    strict = {"strict_promotion", "strict_dtypes"} & set(request.fixturenames)
    for name in strict:  # set up before this one, which undoes them
        request.getfixturevalue(name)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield
