"""PyTorch's ``state_dict`` to this library's variables and back."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from jax_resnet.convert.arrays import to_arrays
from jax_resnet.convert.keys import STYLES, check_style, torch_key
from jax_resnet.convert.layout import adapt_channels, as_expected, from_torch_layout, to_torch_layout
from jax_resnet.convert.mismatch import describe_mismatch, hint
from jax_resnet.convert.template import Path, Shape, stem_kernel, template, torch_shape, written_out
from jax_resnet.convert.unwrap import COUNTERS, unwrap
from jax_resnet.errors import WeightsError
from jax_resnet.models.initializers import head_init
from jax_resnet.models.stack import stack_blocks, unstack_blocks

__all__ = ["count_classes", "find_style", "from_torch", "to_torch"]

HEAD = "head"


def from_torch(
    state_dict: Mapping[str, Any],
    model: nn.Module,
    *,
    style: str | None = None,
    image_shape: tuple[int, int, int] | None = None,
    in_channels: int | None = None,
    fresh_head: bool = False,
    key: jax.Array | None = None,
) -> dict[str, Any]:
    """Converts a PyTorch ``state_dict`` to the variables of a network.

    >>> import jax, numpy as np
    >>> from jax_resnet import convert, create_model
    >>> model = create_model("resnet8")
    >>> shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), np.zeros((1, 32, 32, 3)), train=False))
    >>> weights = convert.to_torch(jax.tree.map(lambda leaf: np.ones(leaf.shape), shapes), model)
    >>> weights["fc.weight"].shape
    (10, 64)
    >>> convert.from_torch(weights, model)["params"]["head"]["kernel"].shape
    (64, 10)
    >>> larger = create_model("resnet8", num_classes=100)
    >>> convert.from_torch(weights, larger, fresh_head=True)["params"]["head"]["kernel"].shape
    (64, 100)

    Args:
        state_dict: Names to numpy arrays or tensors, as ``module.state_dict()`` gives them, or a checkpoint
            that holds one at any depth. Prefixes of wrappers (``module.``, ``_orig_mod.``, ``model.``) and
            counters (``num_batches_tracked``) are dropped. Of several the moving average is taken.
        model: The network, as ``create_model`` makes it; with ``scan_layers`` too.
        style: Whose names they are, a key of ``STYLES``; None takes the style that fits best.
        image_shape: ``(height, width, channels)`` of the images, where the weights must fit them. By default
            height and width are those that the network was made for, and channels those of the weights.
        in_channels: Adapt the first convolution to images of this many channels, as timm does: summed to
            one channel, repeated and scaled to more.
        fresh_head: Take a new head, whatever the weights have: its kernel is drawn as ``model.init`` draws
            it, its bias is 0.
        key: For the new head's kernel; ``jax.random.key(0)`` where None.

    Returns:
        ``{"params", "batch_stats"}`` of numpy arrays: float32, or float64 where the entry was.

    Raises:
        WeightsError: An entry is missing, unexpected, of another shape or not an array of floats; the
            message has its name, both shapes, the nearest match, and the option that would help.
    """
    plain = written_out(model)
    shapes = template(plain, image_shape)
    if fresh_head and ("params", HEAD, "kernel") not in shapes:
        raise WeightsError("fresh_head=True needs a network with a head: num_classes above 0")
    arrays = to_arrays(_without_common_prefix(unwrap(state_dict), shapes, plain))
    style = _most_common_style(arrays, shapes, plain) if style is None else check_style(style)
    paths = {torch_key(path[1:], plain, style): path for path in shapes}
    if fresh_head:
        paths = {name: path for name, path in paths.items() if path[1] != HEAD}
        of_head = {torch_key((HEAD, leaf), plain, style) for leaf in ("kernel", "bias")}
        arrays = {name: array for name, array in arrays.items() if name not in of_head}

    stem = stem_kernel(plain)
    stem_name = torch_key(stem[1:], plain, style)
    if in_channels is not None and stem_name in arrays:
        arrays[stem_name] = adapt_channels(arrays[stem_name], in_channels)
    if image_shape is None and stem_name in arrays and arrays[stem_name].ndim == 4:
        height, width, _, outputs = shapes[stem]
        shapes[stem] = height, width, arrays[stem_name].shape[1], outputs
    expected = {name: torch_shape(path, shapes[path]) for name, path in paths.items()}
    found = {name: as_expected(array, expected.get(name)) for name, array in arrays.items()}
    _check_fit(expected, {name: array.shape for name, array in found.items()}, plain, style, stem_name)

    variables = {path: from_torch_layout(found[name], path) for name, path in paths.items()}
    if fresh_head:
        variables |= _new_head(plain, shapes, key)
    tree = {"batch_stats": {}, **unflatten_dict(variables)}
    return tree if plain is model else stack_blocks(tree)


def to_torch(variables: Mapping[str, Any], model: nn.Module, style: str = "torchvision") -> dict[str, Any]:
    """Converts the variables of a network to a PyTorch ``state_dict``, the inverse of ``from_torch``.

    Args:
        variables: ``{"params", "batch_stats"}``.
        model: The network they belong to; with ``scan_layers`` too.
        style: Whose names to give, a key of ``STYLES``.

    Returns:
        Names to numpy arrays, which ``torch.as_tensor`` takes: bfloat16, which it does not, becomes float32.
        ``num_batches_tracked`` is among them, as 0.

    Raises:
        WeightsError: There is no such style, or the variables are not the network's.
    """
    style = check_style(style)
    plain = written_out(model)
    if plain is not model:
        variables = unstack_blocks(variables)
    arrays = {path: _plain(value) for path, value in flatten_dict(dict(variables)).items()}
    shapes = template(plain)
    wanted = {"/".join(path): shape for path, shape in shapes.items()}
    got = {"/".join(path): array.shape for path, array in arrays.items()}
    # The image decides on these two.
    for path in filter(lambda path: path in arrays, (stem_kernel(plain), ("params", "dense1", "kernel"))):
        wanted["/".join(path)] = got["/".join(path)]
    if mismatch := describe_mismatch(wanted, got):
        raise WeightsError(f"these are not the variables of this {type(plain).__name__}: {mismatch}")
    state_dict: dict[str, Any] = {}
    for path, array in arrays.items():
        name = torch_key(path[1:], plain, style)
        state_dict[name] = to_torch_layout(array, path)
        if path[-1] == "var":
            state_dict[name.replace("running_var", COUNTERS[0])] = np.zeros((), np.int64)
    return state_dict


def find_style(state_dict: Mapping[str, Any], model: nn.Module) -> str:
    """The style of names that a ``state_dict`` for a network has, a key of ``STYLES``."""
    plain = written_out(model)
    shapes = template(plain)
    return _most_common_style(_without_common_prefix(unwrap(state_dict), shapes, plain), shapes, plain)


def count_classes(state_dict: Mapping[str, Any], model: nn.Module) -> int:
    """Outputs of the linear head in a ``state_dict``, whatever ``model.num_classes`` is.

    Raises:
        WeightsError: It has no head under any of the names known for this network.
    """
    plain = written_out(model)
    arrays = _without_common_prefix(unwrap(state_dict), template(plain), plain)
    names = sorted({torch_key((HEAD, "kernel"), model, style) for style in STYLES})
    for name in names:
        if name in arrays and np.ndim(arrays[name]) in (2, 4):  # 4: a 1x1 convolution
            return int(np.shape(arrays[name])[0])
    raise WeightsError(f"the weights have no linear head: none of {', '.join(names)} is there")


def _check_fit(
    expected: Mapping[str, Shape], found: Mapping[str, Shape], model: nn.Module, style: str, stem: str
) -> None:
    if mismatch := describe_mismatch(expected, found):
        head = torch_key((HEAD, "bias"), model, style).removesuffix(".bias")
        advice = hint(expected, found, stem, head if f"{head}.weight" in expected else None)
        raise WeightsError(
            f"the weights do not fit {type(model).__name__}, with names as in {style}: {mismatch}"
            + (f"; {advice}" if advice else "")
        )


def _most_common_style(names: Mapping[str, Any], shapes: Mapping[Path, Shape], model: nn.Module) -> str:
    common = {style: sum(torch_key(path[1:], model, style) in names for path in shapes) for style in STYLES}
    return max(common, key=common.__getitem__)


def _without_common_prefix(
    entries: dict[Any, Any], shapes: Mapping[Path, Shape], model: nn.Module
) -> dict[Any, Any]:
    """Drops what stands before all names, as of a module that holds the network, where no name is known."""
    known = {torch_key(path[1:], model, style) for path in shapes for style in STYLES}
    while entries and not any(name in known for name in entries):
        parts = [str(name).partition(".") for name in entries]
        if len({first for first, _, _ in parts}) > 1 or not all(rest for _, _, rest in parts):
            break
        entries = dict(zip((rest for _, _, rest in parts), entries.values(), strict=True))
    return entries


def _plain(value: Any) -> np.ndarray:
    array = np.asarray(value)
    return array if array.dtype.isbuiltin == 1 else array.astype(np.float32)


def _new_head(
    model: nn.Module, shapes: Mapping[Path, Shape], key: jax.Array | None
) -> dict[Path, np.ndarray]:
    kernel: Path = ("params", HEAD, "kernel")
    bias: Path = ("params", HEAD, "bias")
    key = jax.random.key(0) if key is None else key
    drawn = getattr(model, "head_init", head_init)(key, shapes[kernel], jnp.float32)
    biases = {bias: np.zeros(shapes[bias], np.float32)} if bias in shapes else {}
    return {kernel: np.array(drawn), **biases}
