"""What a network consists of: layers, shapes, parameters and multiply-adds, without computing anything."""

import dataclasses
import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.traverse_util import flatten_dict

from jax_resnet.layers import BatchNorm
from jax_resnet.models.folded import FoldedConv
from jax_resnet.models.group_norm import GroupNorm

__all__ = ["Layer", "Summary", "summary"]

Shape = tuple[int, ...]
Path = tuple[str, ...]

# The blocks that run in a loop with ``scan_layers``; written out they are block 2, 3, ... of their stage.
_LOOP = re.compile(r"(stage\d+_block)s")


@dataclasses.dataclass(frozen=True)
class Layer:
    """One layer with parameters.

    Attributes:
        name: Its path in the variables, joined by slashes. With ``scan_layers``, that of the network
            written out, as in ``unstack_blocks``.
        kind: "conv", "linear", "batch norm", or the class name of another layer.
        input: Shape of the input, without the batch.
        output: Shape of the output, without the batch.
        parameters: Number of trained parameters.
        multiply_adds: Multiply-adds per image, of convolutions and linear layers only and without their
            biases, as is usual; BatchNorm's can be folded into the convolutions.
        kernel_size: Height and width of a convolution's kernel; 0 for other layers.
        strides: Strides of a convolution; 1 for other layers.
        groups: Groups of a convolution; 1 for other layers.
    """

    name: str
    kind: str
    input: Shape
    output: Shape
    parameters: int
    multiply_adds: int = 0
    kernel_size: int = 0
    strides: int = 1
    groups: int = 1

    def __str__(self) -> str:
        if self.kind != "conv":
            return self.kind
        groups = f", {self.groups} groups" if self.groups > 1 else ""
        return f"conv {self.kernel_size}x{self.kernel_size}{groups}"


@dataclasses.dataclass(frozen=True)
class Summary:
    """All layers of a network with parameters, in the order in which they run; ``str`` gives a table."""

    layers: tuple[Layer, ...]

    @property
    def parameters(self) -> int:
        """Number of trained parameters."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds per image, counted as for a ``Layer``."""
        return sum(layer.multiply_adds for layer in self.layers)

    def __str__(self) -> str:
        header = ("layer", "kind", "input", "output", "parameters", "multiply-adds")
        rows = [
            (
                layer.name,
                str(layer),
                "x".join(map(str, layer.input)),
                "x".join(map(str, layer.output)),
                f"{layer.parameters:,}",
                f"{layer.multiply_adds:,}" if layer.multiply_adds else "",
            )
            for layer in self.layers
        ]
        rows.append(("total", "", "", "", f"{self.parameters:,}", f"{self.multiply_adds:,}"))
        return _align([header, *rows], left=2)


def summary(model: nn.Module, image_shape: tuple[int, int, int] = (32, 32, 3)) -> Summary:
    """Lists a network's layers by tracing it: nothing is compiled or computed.

    The layers in the loops of a network with ``scan_layers`` are listed once per repetition, so its summary
    is that of the network written out.

    Args:
        model: The network.
        image_shape: ``(height, width, channels)``.

    Raises:
        ValueError: The images are too small for the network.

    Example:
        >>> from jax_resnet.models import create_model, summary
        >>> result = summary(create_model("resnet20"))
        >>> result.parameters, result.multiply_adds
        (269722, 40551040)
        >>> result.layers[0].name, result.layers[0].kernel_size, result.layers[0].output
        ('stem_conv', 3, (32, 32, 16))
    """
    calls: list[tuple[Path, Layer]] = []

    def watch(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        output = call(*args, **kwargs)
        shapes = [getattr(value, "shape", None) for value in (*args[:1], output)]
        inner = isinstance(context.module.parent, GroupNorm)  # has the parameters of the one around it
        if context.method_name == "__call__" and len(shapes) == 2 and None not in shapes and not inner:
            inputs, outputs = (tuple(shape[1:]) for shape in shapes if shape is not None)
            calls.append((context.module.path, _layer(context.module, inputs, outputs)))
        return output

    def trace(key: jax.Array, image: jax.Array) -> Any:
        with nn.intercept_methods(watch):
            return model.init(key, image, train=False)

    key = jax.eval_shape(lambda: jax.random.key(0))
    variables = jax.eval_shape(trace, key, jax.ShapeDtypeStruct((1, *image_shape), jnp.float32))
    return Summary(tuple(_written_out(calls, variables.get("params", {}))))


def _layer(module: nn.Module, inputs: Shape, outputs: Shape) -> Layer:
    """Describes a call; the number of parameters comes from the variables later."""
    layer = Layer("/".join(module.path), type(module).__name__, inputs, outputs, parameters=0)
    if isinstance(module, BatchNorm):
        return dataclasses.replace(layer, kind="batch norm")
    if isinstance(module, nn.Dense):
        multiply_adds = inputs[-1] * math.prod(outputs)
        return dataclasses.replace(layer, kind="linear", multiply_adds=multiply_adds)
    if isinstance(module, nn.Conv | FoldedConv):
        kernel = (module.kernel_size,) if isinstance(module.kernel_size, int) else module.kernel_size
        weights_per_output = math.prod(kernel) * inputs[-1] // module.feature_group_count
        return dataclasses.replace(
            layer,
            kind="conv",
            multiply_adds=weights_per_output * math.prod(outputs),
            kernel_size=kernel[0],
            strides=_first(module.strides),
            groups=module.feature_group_count,
        )
    return layer


def _first(strides: int | Sequence[int] | None) -> int:
    if strides is None:
        return 1
    return strides if isinstance(strides, int) else strides[0]


def _written_out(calls: Sequence[tuple[Path, Layer]], params: Mapping[str, Any]) -> Iterable[Layer]:
    """Yields the calls of modules with parameters of their own, those in loops once per repetition."""
    sizes: dict[Path, int] = {}
    for path, leaf in flatten_dict(params).items():
        sizes[path[:-1]] = sizes.get(path[:-1], 0) + leaf.size
    owners = [(path, layer) for path, layer in calls if path in sizes]
    for part, group in itertools.groupby(owners, key=lambda call: call[0][0]):
        loop = _LOOP.fullmatch(part)
        if loop is None:
            yield from (dataclasses.replace(layer, parameters=sizes[path]) for path, layer in group)
            continue
        # JAX traces the body of a loop more than once; its parameters have the repetitions as first axis.
        body = dict(group)
        repetitions = jax.tree.leaves(params[part])[0].shape[0]
        for i in range(repetitions):
            for path, layer in body.items():
                name = "/".join((f"{loop[1]}{i + 2}", *path[1:]))
                yield dataclasses.replace(layer, name=name, parameters=sizes[path] // repetitions)


def _align(rows: Sequence[Sequence[str]], left: int) -> str:
    """Lines of cells in columns, the first ``left`` columns flush left and the others flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
