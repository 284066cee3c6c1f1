"""An ONNX graph under construction, and the arrays in it."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from jax_resnet.errors import ExportError

__all__ = ["TO_NCHW", "Graph", "Value", "is_static"]

TO_NCHW, TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)
# Sets of operations and file format of 2022 and 2023, which every runtime in use reads.
OPSET, IR_VERSION = 18, 9


def is_static(shape: Sequence[Any]) -> bool:
    """Whether every size is a number; that of the batch is a symbol."""
    return all(isinstance(size, int | np.integer) for size in shape)


@dataclasses.dataclass(frozen=True)
class Value:
    """An array of the traced program.

    Attributes:
        shape: Its shape there; the batch is a symbol.
        dtype: Its dtype.
        name: Its name in the graph; empty for a constant.
        array: A constant's numbers, of ``shape`` or of one that broadcasts to it.
        channels_first: In the graph the array is NCHW; ``shape`` is NHWC all the same.
        sizes: Its shape in the graph, in the order of ``shape``, where some axes have size 1 there and
            broadcast to ``shape``; None where it is ``shape``.
    """

    shape: tuple[Any, ...]
    dtype: np.dtype
    name: str = ""
    array: np.ndarray | None = None
    channels_first: bool = False
    sizes: tuple[Any, ...] | None = None

    @property
    def held(self) -> tuple[Any, ...]:
        """The shape of what the graph holds, in the order of ``shape``."""
        if self.array is not None:
            return self.array.shape
        return self.shape if self.sizes is None else self.sizes


class Graph:
    """Collects nodes and constants."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple[Any, ...], str] = {}
        self._initializers: list[onnx.TensorProto] = []
        self._transposed: dict[str, str] = {}

    def node(self, operation: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Adds a node; returns the name of its output."""
        name = f"{operation.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operation, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, array: Any) -> str:
        """Adds a constant once; returns its name."""
        array = np.asarray(array, order="C")
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = name = f"constant_{len(self._constants)}"
            self._initializers.append(numpy_helper.from_array(array, name))
        return self._constants[key]

    def integers(self, values: Sequence[int]) -> str:
        """Adds a list of int64."""
        return self.constant(np.array([int(value) for value in values], np.int64))

    def use(self, value: Value, *, channels_first: bool = False) -> str:
        """The name of an array in the layout that is asked for, transposed where it has the other."""
        if value.array is not None:
            array = value.array
            return self.constant(array.transpose(TO_NCHW) if channels_first and array.ndim == 4 else array)
        if len(value.shape) != 4 or value.channels_first == channels_first:
            return value.name
        if value.name not in self._transposed:
            axes = TO_NCHW if channels_first else TO_NHWC
            self._transposed[value.name] = self.node("Transpose", [value.name], perm=axes)
        return self._transposed[value.name]

    def whole(self, value: Value, *, channels_first: bool = False) -> str:
        """As ``use``, for operations that do not broadcast.

        Raises:
            ExportError: The array is broadcast over the batch, whose size is not known.
        """
        name = self.use(value, channels_first=channels_first)
        if value.held == value.shape:
            return name
        pairs = zip(value.shape, value.held, strict=True)
        if any(not is_static([size]) and size != held for size, held in pairs):
            raise ExportError("ONNX: an array that is broadcast over the batch goes into a fixed operation")
        sizes = [size if is_static([size]) else 1 for size in value.shape]
        ordered = [sizes[axis] for axis in TO_NCHW] if channels_first and len(sizes) == 4 else sizes
        return self.node("Expand", [name, self.integers(ordered)])

    def finish(self, name: str, images: Value, logits: Value) -> bytes:
        """Checks and serializes the graph.

        Raises:
            ExportError: It is not valid ONNX.
        """
        self._nodes.append(helper.make_node("Identity", [self.use(logits)], ["logits"], name="logits"))
        ends = [
            helper.make_tensor_value_info(
                label,
                helper.np_dtype_to_tensor_dtype(value.dtype),
                [int(size) if is_static([size]) else "batch" for size in value.shape],
            )
            for label, value in (("images", images), ("logits", logits))
        ]
        graph = helper.make_graph(self._nodes, name, ends[:1], ends[1:], self._initializers)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            producer_name="jax_resnet",
            ir_version=IR_VERSION,
        )
        try:
            onnx.checker.check_model(model, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            raise ExportError(f"the ONNX graph is not valid: {error}") from error
        return bytes(model.SerializeToString())
