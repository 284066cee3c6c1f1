"""The examples in docstrings print what they say."""

import doctest
import importlib

import pytest

# Modules whose docstrings hold examples: quick, deterministic ones.
MODULES = [
    "jax_resnet.convert.state",
    "jax_resnet.models.create",
    "jax_resnet.models.feature_info",
    "jax_resnet.optim.groups",
    "jax_resnet.optim.optimizers",
    "jax_resnet.optim.schedules",
    "jax_resnet.train.loss",
    "jax_resnet.train.step",
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_a_module_are_true(name: str) -> None:
    results = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert results.attempted > 0, f"{name} has no examples: take it off the list"
    assert results.failed == 0
