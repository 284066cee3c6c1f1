"""Residual networks in JAX and Flax, checked against the papers and against PyTorch.

    import jax_resnet
    model = jax_resnet.create_model("resnet20", num_classes=10)

Importing this package imports nothing else: each name below is loaded when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jax_resnet import checkpoint, convert, data, models, optim, train
    from jax_resnet.models import create_model, list_models

__version__ = "0.1.0"

__all__ = [
    "checkpoint",
    "convert",
    "create_model",
    "data",
    "list_models",
    "models",
    "optim",
    "train",
]

_SUBMODULES = frozenset(
    (
        "averaging",
        "checkpoint",
        "convert",
        "data",
        "errors",
        "export",
        "layers",
        "models",
        "optim",
        "parallel",
        "train",
    )
)
_FUNCTIONS = {"create_model": "jax_resnet.models", "list_models": "jax_resnet.models"}


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"jax_resnet.{name}")
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(_FUNCTIONS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SUBMODULES})
