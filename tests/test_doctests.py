"""The examples in docstrings run as they are written."""

import doctest
import importlib

import pytest

MODULES = ["jax_resnet.convert.state"]


@pytest.mark.parametrize("name", MODULES)
def test_examples_of(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
