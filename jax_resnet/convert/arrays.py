"""Arrays from the values of a ``state_dict``: floating-point numbers, or an error that names the entry."""

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from jax_resnet._text import first_line
from jax_resnet.errors import WeightsError

__all__ = ["to_arrays", "to_numpy"]

# What becomes a parameter unchanged (float64) or as float32 (the others).
FLOATS = (np.dtype("float16"), np.dtype(ml_dtypes.bfloat16), np.dtype("float32"), np.dtype("float64"))


def to_arrays(entries: Mapping[Any, Any]) -> dict[str, np.ndarray]:
    """Converts every value of a ``state_dict`` with ``to_numpy``.

    Raises:
        WeightsError: A key is not a name, or a value not an array of floating-point numbers.
    """
    for key in entries:
        if not isinstance(key, str):
            raise WeightsError(f"the key {key!r} is of type {type(key).__name__}: names of layers are str")
    return {key: to_numpy(value, key) for key, value in entries.items()}


def to_numpy(value: Any, name: str = "the value") -> np.ndarray:
    """Copies an array or a tensor to a new array: float64 stays, other floats become float32.

    Args:
        value: A numpy array, a JAX array or a PyTorch tensor.
        name: What an error message calls it.

    Raises:
        WeightsError: It is not an array of floating-point numbers: complex, float8, integer, sparse,
            quantized, without data or without memory of its own.
    """
    if hasattr(value, "untyped_storage"):
        value = _from_tensor(value, name)
    try:
        array = np.asarray(value)
    except Exception as error:  # whatever the object's own __array__ raises
        raise WeightsError(f"{name} cannot be read as an array: {first_line(error)}") from None
    if array.dtype not in FLOATS:
        kind = type(value).__name__ if array.dtype == object else array.dtype
        raise WeightsError(f"{name} is {kind}: weights are float32, float16, bfloat16 or float64")
    return np.array(array, array.dtype if array.dtype == np.float64 else np.float32)


def _from_tensor(tensor: Any, name: str) -> np.ndarray:
    """A PyTorch tensor as an array; bfloat16, which PyTorch does not hand to numpy, as float32."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    if str(tensor.layout) != "torch.strided":
        layout = str(tensor.layout).removeprefix("torch.")
        raise WeightsError(f"{name} is a tensor of layout {layout}: save a dense one, tensor.to_dense()")
    if tensor.is_quantized or dtype.startswith(("qint", "quint")):
        raise WeightsError(f"{name} is a quantized tensor ({dtype}): save tensor.dequantize()")
    if tensor.device.type == "meta":
        raise WeightsError(f"{name} is a meta tensor, which has a shape but no numbers")
    if not tensor.is_floating_point() or dtype.startswith("float8") or dtype.startswith("float4"):
        raise WeightsError(f"{name} is {dtype}: weights are float32, float16, bfloat16 or float64")
    try:
        expanded = tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes()
    except RuntimeError as error:  # subclasses without memory of their own
        raise WeightsError(f"{name} cannot be read as an array: {first_line(error)}") from None
    if expanded:
        raise WeightsError(
            f"{name} is an expanded tensor, {tuple(tensor.shape)} over fewer numbers: save tensor.clone()"
        )
    try:
        tensor = tensor.float() if dtype == "bfloat16" else tensor
        return tensor.numpy(force=True)
    except (RuntimeError, TypeError, ValueError) as error:  # subclasses without data of their own
        raise WeightsError(f"{name} cannot be read as an array: {first_line(error)}") from None
