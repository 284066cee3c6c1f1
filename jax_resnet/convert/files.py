"""Files of weights: safetensors, and PyTorch's own where PyTorch is installed."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from jax_resnet.convert.state import to_numpy, unwrap

SAFETENSORS = (".safetensors",)
PYTORCH = (".pth", ".pt", ".th")


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads the ``state_dict`` in a ``.safetensors``, ``.pth``, ``.pt`` or ``.th`` file.

    PyTorch files are read by PyTorch with ``weights_only=True``: arbitrary pickles are never run.

    Returns:
        PyTorch names, without prefixes of wrappers, to arrays.

    Raises:
        FileNotFoundError: There is no such file.
        ImportError: A PyTorch file, and PyTorch is not installed.
        ValueError: A file of another kind, a damaged one, or one without a ``state_dict``.
    """
    path = Path(path)
    check_suffix(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    if path.suffix in SAFETENSORS:
        try:
            content: Any = safetensors.numpy.load_file(path)
        except safetensors.SafetensorError as error:
            raise ValueError(f"{path} is not a whole safetensors file: {error}") from None
    else:
        torch = _import_torch(path)
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # PyTorch raises many kinds for a damaged file
            reason = (str(error).partition(". ")[0].splitlines() or [type(error).__name__])[0]
            raise ValueError(f"{path} is not a PyTorch file of weights alone: {reason}") from None
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds a {type(content).__name__}, not a state_dict")
    entries = unwrap(content)
    for key, value in entries.items():
        if not hasattr(value, "shape"):
            raise ValueError(f"{path} holds no state_dict: its {key!r} is a {type(value).__name__}")
    return {key: to_numpy(value) for key, value in entries.items()}


def write_state_dict(path: str | os.PathLike[str], state_dict: Mapping[str, np.ndarray]) -> None:
    """Writes a ``state_dict`` as a file of the kind that its suffix says; all of it, or nothing.

    Raises:
        ImportError: A PyTorch file, and PyTorch is not installed.
        ValueError: Another suffix.
    """
    path = Path(path)
    check_suffix(path)
    torch = _import_torch(path) if path.suffix in PYTORCH else None
    # Beside the target, so that the last step is a rename.
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        if torch is not None:
            torch.save({key: torch.from_numpy(np.array(value)) for key, value in state_dict.items()}, partial)
        else:
            safetensors.numpy.save_file(dict(state_dict), partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def check_suffix(path: Path) -> None:
    """Raises ValueError unless the suffix is one that is read and written here."""
    if path.suffix not in SAFETENSORS + PYTORCH:
        known = ", ".join(SAFETENSORS + PYTORCH)
        raise ValueError(f"{path.name!r} does not end in one of {known}")


def _import_torch(path: Path) -> Any:
    try:
        import torch
    except ImportError:
        raise ImportError(
            f"{path.name} is a PyTorch file, for which PyTorch must be installed: "
            "pip install 'jax-resnet[torch]', or use a .safetensors file"
        ) from None
    return torch
