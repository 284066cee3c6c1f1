"""Residual networks in JAX and Flax, checked against the papers and against PyTorch.

    import jax_resnet
    model = jax_resnet.create_model("resnet20", num_classes=10)

Importing this package imports nothing else: each name below is loaded when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jax_resnet import (
        averaging,
        checkpoint,
        convert,
        data,
        errors,
        export,
        layers,
        models,
        optim,
        parallel,
        pretrained,
        train,
    )
    from jax_resnet.models import create_model, list_models
    from jax_resnet.pretrained import list_pretrained, load_pretrained

__version__ = "0.1.0"

__all__ = [
    "averaging",
    "checkpoint",
    "convert",
    "create_model",
    "data",
    "errors",
    "export",
    "layers",
    "list_models",
    "list_pretrained",
    "load_pretrained",
    "models",
    "optim",
    "parallel",
    "pretrained",
    "train",
]

# The functions and the modules that define them; every other name in ``__all__`` is a submodule.
_FUNCTIONS = {
    "create_model": "jax_resnet.models",
    "list_models": "jax_resnet.models",
    "list_pretrained": "jax_resnet.pretrained",
    "load_pretrained": "jax_resnet.pretrained",
}


def __getattr__(name: str) -> Any:
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(_FUNCTIONS[name]), name)
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
