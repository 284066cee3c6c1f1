"""PyTorch's ``state_dict`` to this library's variables and back."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from jax_resnet.convert.keys import STYLES, check_style, torch_key
from jax_resnet.convert.mismatch import describe_mismatch
from jax_resnet.convert.template import Path, Shape, stem_kernel, template, torch_shape

# Where checkpoints keep the state_dict, beside epochs and accuracies, and what wrappers put before its keys.
CONTAINERS = ("state_dict", "model_state_dict", "net", "model")
PREFIXES = ("module.", "_orig_mod.")
COUNTER = "num_batches_tracked"


def from_torch(
    state_dict: Mapping[str, Any],
    model: nn.Module,
    *,
    style: str | None = None,
    image_shape: tuple[int, int, int] | None = None,
) -> dict[str, Any]:
    """Turns a PyTorch ``state_dict`` into the variables of a network.

    Args:
        state_dict: Names to numpy arrays or tensors, as ``module.state_dict()`` gives them, or a checkpoint
            that holds one under "state_dict", "net" or "model". Prefixes ``module.`` are dropped, as are
            ``num_batches_tracked``.
        model: The network, as ``create_model`` makes it.
        style: Whose names they are, a key of ``STYLES``; None takes the style that fits best.
        image_shape: ``(height, width, channels)``, only needed by the networks for digits, whose linear
            layers depend on it, and only where it is not 28x28.

    Returns:
        ``{"params", "batch_stats"}`` of numpy arrays: float32, or float64 where the entry was.

    Raises:
        ValueError: An entry is missing, unexpected or of another shape; the message has its name, both
            shapes, and the nearest match.
    """
    arrays = {key: to_numpy(value) for key, value in unwrap(state_dict).items()}
    shapes = template(model, image_shape)
    style = _most_common_style(arrays, shapes, model) if style is None else check_style(style)
    paths = {torch_key(path[1:], model, style): path for path in shapes}

    stem = stem_kernel(shapes)
    stem_array = arrays.get(torch_key(stem[1:], model, style))
    if image_shape is None and stem_array is not None and stem_array.ndim == 4:
        height, width, _, outputs = shapes[stem]
        shapes[stem] = height, width, stem_array.shape[1], outputs
    expected = {key: torch_shape(path, shapes[path]) for key, path in paths.items()}
    found = {key: as_expected(array, expected.get(key)) for key, array in arrays.items()}
    if mismatch := describe_mismatch(expected, {key: array.shape for key, array in found.items()}):
        raise ValueError(
            f"the weights do not fit {type(model).__name__}, with names as in {style}: {mismatch}"
        )

    variables = {path: from_torch_layout(found[key], path) for key, path in paths.items()}
    return {"batch_stats": {}, **unflatten_dict(variables)}


def to_torch(variables: Mapping[str, Any], model: nn.Module, style: str = "torchvision") -> dict[str, Any]:
    """Turns the variables of a network into a PyTorch ``state_dict``, the inverse of ``from_torch``.

    Args:
        variables: ``{"params", "batch_stats"}``.
        model: The network they belong to.
        style: Whose names to give, a key of ``STYLES``.

    Returns:
        Names to numpy arrays, which ``torch.as_tensor`` takes; ``num_batches_tracked`` among them, as 0.

    Raises:
        ValueError: There is no such style, or the variables are not the network's.
    """
    style = check_style(style)
    arrays = {path: np.asarray(value) for path, value in flatten_dict(dict(variables)).items()}
    state_dict: dict[str, Any] = {}
    for path, array in arrays.items():
        key = torch_key(path[1:], model, style)
        state_dict[key] = to_torch_layout(array, path)
        if path[-1] == "var":
            state_dict[key.replace("running_var", COUNTER)] = np.zeros((), np.int64)
    shapes = template(model)
    wanted = {"/".join(path): shape for path, shape in shapes.items()}
    got = {"/".join(path): array.shape for path, array in arrays.items()}
    # The image decides on these two.
    for path in filter(lambda path: path in arrays, (stem_kernel(shapes), ("params", "dense1", "kernel"))):
        wanted["/".join(path)] = got["/".join(path)]
    if mismatch := describe_mismatch(wanted, got):
        raise ValueError(f"these are not the variables of this {type(model).__name__}: {mismatch}")
    return state_dict


def unwrap(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """The ``state_dict`` in a checkpoint, its names without what wrappers add, without step counters."""
    for container in CONTAINERS:
        if isinstance(state_dict.get(container), Mapping):
            state_dict = state_dict[container]
    plain = {}
    for key, value in state_dict.items():
        while key.startswith(PREFIXES):
            key = key.partition(".")[2]
        if not key.endswith(COUNTER):
            plain[key] = value
    return plain


def to_numpy(value: Any) -> np.ndarray:
    """An array of its own from an array or a tensor; half precision becomes float32, as parameters are."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.float() if "float16" in str(value.dtype) else value
        value = value.numpy()
    array = np.asarray(value)
    return np.array(array, array.dtype if array.dtype == np.float64 else np.float32)


def find_style(state_dict: Mapping[str, Any], model: nn.Module) -> str:
    """The style of names that a ``state_dict`` for a network has, a key of ``STYLES``."""
    return _most_common_style(unwrap(state_dict), template(model), model)


def _most_common_style(names: Mapping[str, Any], shapes: Mapping[Path, Shape], model: nn.Module) -> str:
    common = {style: sum(torch_key(path[1:], model, style) in names for path in shapes) for style in STYLES}
    return max(common, key=common.__getitem__)


def count_classes(state_dict: Mapping[str, Any], model: nn.Module) -> int:
    """How many outputs the linear head in a ``state_dict`` has, whatever ``model.num_classes`` is.

    Raises:
        ValueError: It has no head under any of the names known for this network.
    """
    arrays = unwrap(state_dict)
    for style in STYLES:
        key = torch_key(("head", "bias"), model, style)
        if key in arrays:
            return int(arrays[key].shape[0])
    names = sorted({torch_key(("head", "bias"), model, style) for style in STYLES})
    raise ValueError(f"the weights have no linear head: none of {', '.join(names)} is there")


def as_expected(array: np.ndarray, shape: Shape | None) -> np.ndarray:
    """Linear weights and those of 1x1 convolutions stand for each other."""
    if shape is not None and {array.ndim, len(shape)} == {2, 4} and array.size == np.prod(shape):
        matrix, other = (array.shape, shape) if array.ndim == 2 else (shape, array.shape)
        return array.reshape(shape) if (*matrix, 1, 1) == tuple(other) else array
    return array


def from_torch_layout(array: np.ndarray, path: Path) -> np.ndarray:
    """OIHW to HWIO, (out, in) to (in, out)."""
    if path[-1] == "kernel":
        array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
        array = array[0, 0] if "se" in path else array
    return np.ascontiguousarray(array)


def to_torch_layout(array: np.ndarray, path: Path) -> np.ndarray:
    """HWIO to OIHW, (in, out) to (out, in); an array of its own."""
    if path[-1] == "kernel":
        array = array[None, None] if "se" in path else array
        array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
    return np.array(array, order="C")
