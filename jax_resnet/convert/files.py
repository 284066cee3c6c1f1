"""Files of weights: safetensors, and PyTorch's own where PyTorch is installed."""

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy

from jax_resnet._files import write_bytes
from jax_resnet._text import first_line
from jax_resnet.convert.arrays import to_arrays
from jax_resnet.convert.pickles import StandIn, read_pytorch
from jax_resnet.convert.unwrap import CONTAINERS, find_entry
from jax_resnet.errors import WeightsError

__all__ = [
    "PYTORCH",
    "SAFETENSORS",
    "Weights",
    "check_suffix",
    "is_weights_name",
    "read_state_dict",
    "read_weights",
    "write_state_dict",
]

SAFETENSORS = (".safetensors",)
PYTORCH = (".pth", ".pt", ".th", ".bin", ".ckpt", ".pth.tar", ".pt.tar")

# safetensors' names of dtypes; ``to_numpy`` says which of them weights can have.
DTYPES = {
    **{f"F{bits}": np.dtype(f"float{bits}") for bits in (16, 32, 64)},
    **{f"I{bits}": np.dtype(f"int{bits}") for bits in (8, 16, 32, 64)},
    **{f"U{bits}": np.dtype(f"uint{bits}") for bits in (8, 16, 32, 64)},
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "BOOL": np.dtype(bool),
    "C64": np.dtype(np.complex64),
}
LARGEST = 2**33

SAVE_WEIGHTS = "save its state_dict() instead"

# How files begin that are often saved in place of weights.
IMPOSTORS = {
    b"version https://git-lfs": "a Git LFS pointer, not the file it points to: run git lfs pull",
    b"<": "a web page, not weights: download the file again",
    b"\x89HDF\r\n": "an HDF5 file, as Keras writes it",
}


class Weights(NamedTuple):
    """What was read from a file.

    Attributes:
        state_dict: PyTorch names, without prefixes of wrappers, to float32 or float64 arrays.
        choice: Which of several networks in the file this is, in one line for people; else empty.
    """

    state_dict: dict[str, np.ndarray]
    choice: str


def read_state_dict(path: str | os.PathLike[str], entry: str | None = None) -> dict[str, np.ndarray]:
    """The ``state_dict`` of ``read_weights``."""
    return read_weights(path, entry).state_dict


def read_weights(path: str | os.PathLike[str], entry: str | None = None) -> Weights:
    """Reads the ``state_dict`` in a safetensors file or a PyTorch file.

    PyTorch files end in ``.pth``, ``.pth.tar``, ``.pt``, ``.th``, ``.bin`` or ``.ckpt``, in upper or lower
    case. They are read without running code from them: see ``convert.pickles``.

    Args:
        path: The file.
        entry: Which network, where the file holds several: the place of its ``state_dict``, or the prefix
            of its names. By default the moving average, then the best known place.

    Returns:
        The weights, and which they are.

    Raises:
        FileNotFoundError: There is no such file.
        ImportError: A PyTorch file, and PyTorch is not installed.
        OSError: The file cannot be opened.
        WeightsError: A file of another kind, a damaged one, or one without a ``state_dict``.
    """
    path = Path(path)
    check_suffix(path)
    _check_file(path)
    content = _read_safetensors(path) if _ends_in(path, SAFETENSORS) else _read_pytorch(path)
    try:
        found = find_entry(content, entry)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None
    _check_values(path, found.values)
    try:
        return Weights(to_arrays(found.values), found.choice)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None


def write_state_dict(path: str | os.PathLike[str], state_dict: Mapping[str, np.ndarray]) -> None:
    """Writes a ``state_dict`` as a file of the kind that its suffix says; all of it, or nothing.

    Raises:
        ImportError: A PyTorch file, and PyTorch is not installed.
        OSError: The file cannot be written; its ``filename`` is ``path``.
        WeightsError: Another suffix.
    """
    path = Path(path)
    check_suffix(path)
    # To memory first: the writers themselves report a full disk each in its own way.
    if _ends_in(path, SAFETENSORS):
        content = safetensors.numpy.save(
            {key: np.asarray(value, order="C") for key, value in state_dict.items()}
        )
    else:
        torch = import_torch(path)
        buffer = io.BytesIO()
        torch.save({key: torch.from_numpy(np.array(value)) for key, value in state_dict.items()}, buffer)
        content = buffer.getvalue()
    write_bytes(path, content)


def is_weights_name(path: str | os.PathLike[str]) -> bool:
    """Whether a name ends as that of a weights file does, in upper or lower case."""
    return _ends_in(Path(path), SAFETENSORS + PYTORCH)


def check_suffix(path: Path) -> None:
    """Checks that a name ends in a suffix that is read and written here.

    Raises:
        WeightsError: It does not.
    """
    if not is_weights_name(path):
        known = ", ".join(SAFETENSORS + PYTORCH)
        raise WeightsError(f"{path.name!r} does not end in one of {known}")


def import_torch(path: Path) -> Any:
    """PyTorch, which the file needs.

    Raises:
        ImportError: It is not installed.
    """
    try:
        import torch
    except ImportError:
        raise ImportError(
            f"{path.name} is a PyTorch file, for which PyTorch must be installed: "
            "pip install -e '.[torch]', or use a .safetensors file"
        ) from None
    return torch


def _ends_in(path: Path, suffixes: tuple[str, ...]) -> bool:
    return path.name.lower().endswith(suffixes)


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise WeightsError(f"{path} is a folder, not a file of weights")
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    if not path.is_file():
        raise WeightsError(f"{path} is not a regular file")
    size = path.stat().st_size
    if size == 0:
        raise WeightsError(f"{path} is an empty file")
    if size > LARGEST:
        raise WeightsError(f"{path} has {size:,} bytes, more than any weights of these networks")
    with path.open("rb") as file:
        start = file.read(64)
    if start[8:9] == b"{":  # safetensors: a length, which may look like anything, and JSON
        return
    start = start.lstrip()
    for beginning, kind in IMPOSTORS.items():
        if start.startswith(beginning):
            raise WeightsError(f"{path} is {kind}")


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Names to arrays; the file's own header is checked by safetensors, in Rust, before memory is used."""
    try:
        with safetensors.safe_open(path, framework="np"):
            pass  # checks header and size without reading the rest
        content = safetensors.deserialize(path.read_bytes())
    except safetensors.SafetensorError as error:
        raise WeightsError(f"{path} is not a whole safetensors file: {first_line(error)}") from None
    arrays = {}
    for name, tensor in content:
        if tensor["dtype"] not in DTYPES:
            raise WeightsError(f"{path}: {name} is {tensor['dtype']}: weights are F32, F16, BF16 or F64")
        numbers = np.frombuffer(tensor["data"], DTYPES[tensor["dtype"]])
        try:
            arrays[name] = numbers.reshape(tensor["shape"])
        except ValueError:  # no numbers, in a shape whose other sizes are too large for numpy
            raise WeightsError(f"{path}: {name} has the impossible shape {tensor['shape']}") from None
    return arrays


def _read_pytorch(path: Path) -> Any:
    content = read_pytorch(path, import_torch(path))
    if isinstance(content, StandIn):
        raise WeightsError(f"{path} holds a whole {content.class_name}, not weights alone: {SAVE_WEIGHTS}")
    if not isinstance(content, Mapping | list | tuple):
        raise WeightsError(f"{path} holds a {type(content).__name__}, not a state_dict")
    return content


def _check_values(path: Path, values: Mapping[Any, Any]) -> None:
    """Checks that every value is an array, and says what a file without a ``state_dict`` holds.

    Raises:
        WeightsError: One is not, or there is none.
    """
    if not values:
        raise WeightsError(f"{path} holds no weights")
    # A network that was saved whole explains more than a number beside it.
    for key in sorted(values, key=lambda key: key not in CONTAINERS):
        value = values[key]
        if isinstance(value, StandIn):
            if key in CONTAINERS:
                raise WeightsError(
                    f"{path} is not a PyTorch file of weights alone: "
                    f"its {key!r} is a whole {value.class_name}: {SAVE_WEIGHTS}"
                )
            raise WeightsError(f"{path} holds no state_dict: its {key!r} is a {value.class_name}")
        if not hasattr(value, "shape"):
            raise WeightsError(f"{path} holds no state_dict: its {key!r} is a {type(value).__name__}")
