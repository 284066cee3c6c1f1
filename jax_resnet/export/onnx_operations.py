"""What the operations of ``jax.lax`` in a network at inference are in ONNX.

A translation takes the graph, the result's shape and dtype, the operands and the parameters of the operation,
and returns the result.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from onnx import helper

from jax_resnet.errors import ExportError
from jax_resnet.export.onnx_graph import TO_NCHW, Graph, Value, is_static

__all__ = ["OPERATIONS"]

Params = Mapping[str, Any]
Translation = Callable[[Graph, Value, Sequence[Value], Params], Value]


def elementwise(operation: str, graph: Graph, out: Value, operands: Sequence[Value], params: Params) -> Value:
    """An operation on numbers, whose operands broadcast; channels first where one operand is."""
    first = any(value.channels_first for value in operands)
    name = graph.node(operation, [graph.use(value, channels_first=first) for value in operands])
    ranked = [value.held for value in operands if len(value.held) == len(out.shape)]
    sizes = tuple(next((size for size in axis if size != 1), 1) for axis in zip(*ranked, strict=True))
    sizes = sizes if ranked else (1,) * len(out.shape)
    return dataclasses.replace(
        out, name=name, channels_first=first, sizes=None if sizes == out.shape else sizes
    )


def chain(*operations: str) -> Translation:
    """Operations of one operand, one after the other."""

    def translation(graph: Graph, out: Value, operands: Sequence[Value], params: Params) -> Value:
        value = operands[0]
        for operation in operations:
            value = elementwise(
                operation, graph, dataclasses.replace(value, shape=out.shape), [value], params
            )
        return value

    return translation


def negated(operation: str) -> Translation:
    """A comparison and its negation."""

    def translation(graph: Graph, out: Value, operands: Sequence[Value], params: Params) -> Value:
        compared = elementwise(operation, graph, out, operands, params)
        return dataclasses.replace(compared, name=graph.node("Not", [compared.name]))

    return translation


def with_number(operation: str, number: Callable[[Params], float], *, first: bool = False) -> Translation:
    """An operation of the operand and a number."""

    def translation(graph: Graph, out: Value, operands: Sequence[Value], params: Params) -> Value:
        constant = Value((), out.dtype, array=np.asarray(number(params), out.dtype))
        both = [constant, operands[0]] if first else [operands[0], constant]
        return elementwise(operation, graph, out, both, params)

    return translation


def expm1(graph: Graph, out: Value, operands: Sequence[Value], params: Params) -> Value:
    """``exp(x) - 1``; ONNX has no operation that is more exact near 0."""
    power = elementwise("Exp", graph, out, operands, params)
    return with_number("Sub", lambda params: 1)(graph, out, [power], params)


def erfc(graph: Graph, out: Value, operands: Sequence[Value], params: Params) -> Value:
    """``1 - erf(x)``; ONNX has no operation that is more exact for large numbers."""
    value = elementwise("Erf", graph, out, operands, params)
    return with_number("Sub", lambda params: 1, first=True)(graph, out, [value], params)


def cast(graph: Graph, out: Value, operands: Sequence[Value], params: Params) -> Value:
    """``convert_element_type``."""
    (value,) = operands
    if value.array is not None:
        return dataclasses.replace(value, dtype=out.dtype, array=value.array.astype(out.dtype))
    name = graph.node("Cast", [value.name], to=helper.np_dtype_to_tensor_dtype(out.dtype))
    return dataclasses.replace(value, name=name, dtype=out.dtype)


def select(graph: Graph, out: Value, operands: Sequence[Value], params: Params) -> Value:
    """``select_n(which, no, yes)`` of a boolean."""
    which, *cases = operands
    if len(cases) != 2 or which.dtype != bool:
        raise ExportError("ONNX: select_n of more than two cases has no translation here")
    return elementwise("Where", graph, out, [which, cases[1], cases[0]], params)


def convolution(graph: Graph, out: Value, operands: Sequence[Value], params: Params) -> Value:
    """``conv_general_dilated`` of NHWC images with HWIO weights."""
    numbers = params["dimension_numbers"]
    if (tuple(numbers.lhs_spec), tuple(numbers.rhs_spec), tuple(numbers.out_spec)) != (
        TO_NCHW,
        (3, 2, 0, 1),
        TO_NCHW,
    ):
        raise ExportError("ONNX: only convolutions of NHWC images are translated")
    if any(step != 1 for step in params["lhs_dilation"]) or params["batch_group_count"] != 1:
        raise ExportError("ONNX: transposed convolutions are not translated")
    images, weights = operands
    if weights.array is None:
        raise ExportError("ONNX: only convolutions with constant weights are translated")
    name = graph.node(
        "Conv",
        [graph.whole(images, channels_first=True), graph.constant(weights.array.transpose(3, 2, 0, 1))],
        kernel_shape=weights.shape[:2],
        strides=params["window_strides"],
        dilations=params["rhs_dilation"],
        group=params["feature_group_count"],
        pads=_pads(params["padding"]),
    )
    return dataclasses.replace(out, name=name, channels_first=True)


def _pads(padding: Sequence[tuple[int, int]]) -> list[int]:
    pads = [int(low) for low, _ in padding] + [int(high) for _, high in padding]
    if min(pads) < 0:
        raise ExportError("ONNX: negative padding is not translated")
    return pads


def pool(operation: str, graph: Graph, out: Value, operands: Sequence[Value], params: Params) -> Value:
    """``reduce_window_max`` and ``reduce_window_sum`` over height and width."""
    window, strides, padding = (params[key] for key in ("window_dimensions", "window_strides", "padding"))
    spatial = (1, 2)
    others = {
        axis for axis, size in enumerate(window) if size != 1 or strides[axis] != 1 or any(padding[axis])
    }
    dilated = any(step != 1 for key in ("base_dilation", "window_dilation") for step in params[key])
    if len(window) != 4 or not others <= set(spatial) or dilated:
        raise ExportError("ONNX: only pooling over height and width is translated")
    attributes: dict[str, Any] = {
        "kernel_shape": [window[axis] for axis in spatial],
        "strides": [strides[axis] for axis in spatial],
        "pads": _pads([padding[axis] for axis in spatial]),
    }
    if operation == "AveragePool":
        attributes["count_include_pad"] = 1
    name = graph.node(operation, [graph.whole(operands[0], channels_first=True)], **attributes)
    result = dataclasses.replace(out, name=name, channels_first=True)
    if operation == "AveragePool":  # the sum, not the mean
        return with_number("Mul", lambda _: float(np.prod(window)))(graph, result, [result], params)
    return result


def reduce(operation: str, graph: Graph, out: Value, operands: Sequence[Value], params: Params) -> Value:
    """A reduction over some axes, which disappear."""
    (value,) = operands
    # Without an order of axes in the result, it does not matter in which one they are.
    first = value.channels_first and (len(out.shape) < 2 or set(params["axes"]) == {1, 2})
    axes = [TO_NCHW.index(axis) if first else axis for axis in params["axes"]]
    name = graph.node(operation, [graph.whole(value, channels_first=first), graph.integers(axes)], keepdims=0)
    return dataclasses.replace(out, name=name)


def product(graph: Graph, out: Value, operands: Sequence[Value], params: Params) -> Value:
    """``dot_general`` of a matrix and a matrix."""
    (left_axes, right_axes), batch = params["dimension_numbers"]
    left, right = operands
    if any(batch) or len(left.shape) != 2 or len(right.shape) != 2:
        raise ExportError("ONNX: only products of two matrices are translated")
    names = [graph.whole(left), graph.whole(right)]
    for i, transposed in enumerate((tuple(left_axes) == (0,), tuple(right_axes) == (1,))):
        if transposed:
            names[i] = graph.node("Transpose", [names[i]], perm=(1, 0))
    return dataclasses.replace(out, name=graph.node("MatMul", names))


def reshape(graph: Graph, out: Value, operands: Sequence[Value], params: Params) -> Value:
    """``reshape``, ``squeeze`` and ``expand_dims``."""
    return dataclasses.replace(out, name=_reshaped(graph, graph.whole(operands[0]), out.shape))


def _reshaped(graph: Graph, name: str, shape: Sequence[Any]) -> str:
    sizes = [int(size) if is_static([size]) else -1 for size in shape]
    if sizes.count(-1) > 1:
        raise ExportError("ONNX: a reshape with the batch in two axes is not translated")
    return graph.node("Reshape", [name, graph.integers(sizes)])


def broadcast(graph: Graph, out: Value, operands: Sequence[Value], params: Params) -> Value:
    """``broadcast_in_dim``: axes of size 1, which operations on numbers broadcast."""
    value, places = operands[0], params["broadcast_dimensions"]
    sizes: list[Any] = [1] * len(out.shape)
    for axis, place in enumerate(places):
        sizes[place] = value.shape[axis]
    if value.array is not None:
        array = np.broadcast_to(value.array, value.shape) if is_static(value.shape) else value.array
        full = [1] * len(out.shape)
        for axis, place in enumerate(places):
            full[place] = array.shape[axis]
        return dataclasses.replace(out, array=array.reshape(full))
    name = _reshaped(graph, graph.whole(value), sizes)
    return dataclasses.replace(out, name=name, sizes=None if tuple(sizes) == out.shape else tuple(sizes))


def transpose(graph: Graph, out: Value, operands: Sequence[Value], params: Params) -> Value:
    """``transpose``."""
    name = graph.node("Transpose", [graph.whole(operands[0])], perm=params["permutation"])
    return dataclasses.replace(out, name=name)


def pad(graph: Graph, out: Value, operands: Sequence[Value], params: Params) -> Value:
    """``pad`` with a constant; negative padding cuts off."""
    value, filling = operands
    config = params["padding_config"]
    if any(inside for _, _, inside in config) or filling.array is None:
        raise ExportError("ONNX: padding between elements is not translated")
    first = value.channels_first
    order = TO_NCHW if first else range(len(config))
    pads = [config[axis][0] for axis in order] + [config[axis][1] for axis in order]
    inputs = [graph.whole(value, channels_first=first), graph.integers(pads), graph.constant(filling.array)]
    return dataclasses.replace(out, name=graph.node("Pad", inputs), channels_first=first)


def cut(graph: Graph, out: Value, operands: Sequence[Value], params: Params) -> Value:
    """``slice``, of all axes but the batch."""
    value, strides = operands[0], params["strides"] or [1] * len(out.shape)
    ranges = {}
    for axis, (start, stop, step) in enumerate(
        zip(params["start_indices"], params["limit_indices"], strides, strict=True)
    ):
        if (start, stop, step) != (0, value.shape[axis], 1):
            ranges[axis] = (start, stop, step)
    return _cut(graph, out, value, ranges)


def _cut(graph: Graph, out: Value, value: Value, ranges: Mapping[int, tuple[int, int, int]]) -> Value:
    first = value.channels_first
    axes = [TO_NCHW.index(axis) if first else axis for axis in ranges]
    starts, stops, steps = (graph.integers([part[i] for part in ranges.values()]) for i in range(3))
    name = graph.node(
        "Slice", [graph.whole(value, channels_first=first), starts, stops, graph.integers(axes), steps]
    )
    return dataclasses.replace(out, name=name, channels_first=first)


def gather(graph: Graph, out: Value, operands: Sequence[Value], params: Params) -> Value:
    """``x[:, ::2, ::2]``, which JAX traces as a gather where the batch size is a symbol."""
    value, indices = operands
    numbers = params["dimension_numbers"]
    axes = tuple(numbers.start_index_map)
    grid = None if indices.array is None else np.broadcast_to(indices.array, indices.shape)
    kept = [axis for axis in range(len(value.shape)) if axis not in axes]
    regular = (
        grid is not None
        and grid.ndim == len(axes) + 1
        and tuple(numbers.collapsed_slice_dims) == axes
        and list(numbers.offset_dims) == kept
        and all(params["slice_sizes"][axis] == value.shape[axis] for axis in kept)
    )
    if not regular or grid is None:
        raise ExportError("ONNX: only regular slices are translated, not every gather")
    ranges = {}
    for i, axis in enumerate(axes):
        line = np.moveaxis(grid[..., i], i, 0).reshape(grid.shape[i], -1)
        step = int(line[1, 0] - line[0, 0]) if len(line) > 1 else 1
        expected = int(line[0, 0]) + step * np.arange(len(line))
        if step < 1 or not np.array_equal(line, np.broadcast_to(expected[:, None], line.shape)):
            raise ExportError("ONNX: only regular slices are translated, not every gather")
        ranges[axis] = (int(expected[0]), int(expected[-1]) + 1, step)
    return _cut(graph, out, value, ranges)


OPERATIONS: Mapping[str, Translation] = {
    **{
        name: partial(elementwise, operation)
        for name, operation in {
            **{"add": "Add", "add_any": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "pow": "Pow"},
            **{"max": "Max", "min": "Min", "neg": "Neg", "abs": "Abs", "sign": "Sign", "floor": "Floor"},
            **{"exp": "Exp", "log": "Log", "tanh": "Tanh", "erf": "Erf", "sqrt": "Sqrt", "copy": "Identity"},
            **{"logistic": "Sigmoid", "gt": "Greater", "ge": "GreaterOrEqual", "lt": "Less"},
            **{"le": "LessOrEqual", "eq": "Equal", "and": "And", "or": "Or", "not": "Not"},
            **{"stop_gradient": "Identity", "optimization_barrier": "Identity"},
        }.items()
    },
    "ne": negated("Equal"),
    "rsqrt": chain("Sqrt", "Reciprocal"),
    "square": with_number("Pow", lambda params: 2),
    "integer_pow": with_number("Pow", lambda params: params["y"]),
    "log1p": lambda graph, out, operands, params: chain("Log")(
        graph, out, [with_number("Add", lambda params: 1)(graph, out, operands, params)], params
    ),
    "expm1": expm1,
    "erfc": erfc,
    "convert_element_type": cast,
    "select_n": select,
    "conv_general_dilated": convolution,
    "reduce_window_max": partial(pool, "MaxPool"),
    "reduce_window_sum": partial(pool, "AveragePool"),
    "reduce_sum": partial(reduce, "ReduceSum"),
    "reduce_max": partial(reduce, "ReduceMax"),
    "reduce_min": partial(reduce, "ReduceMin"),
    "dot_general": product,
    "reshape": reshape,
    "squeeze": reshape,
    "expand_dims": reshape,
    "broadcast_in_dim": broadcast,
    "transpose": transpose,
    "pad": pad,
    "slice": cut,
    "gather": gather,
}
