"""Walks a traced program and adds each of its operations to an ONNX graph."""

from typing import Any

import numpy as np

from jax_resnet.errors import ExportError
from jax_resnet.export.onnx_graph import Graph, Value, is_static
from jax_resnet.export.onnx_operations import OPERATIONS

__all__ = ["translate"]

# Operations that hold another program, which runs once.
CALLS = ("jaxpr", "call_jaxpr", "fun_jaxpr")


def translate(closed: Any, name: str) -> bytes:
    """Serializes a traced program as ONNX.

    Args:
        closed: What ``jax.make_jaxpr`` returns for a function of one array that returns one array.
        name: The name of the graph.

    Raises:
        ExportError: An operation has no translation.
    """
    graph = Graph()
    aval = closed.jaxpr.invars[0].aval
    images = Value(aval.shape, np.dtype(aval.dtype), "images")
    (logits,) = _run(graph, closed.jaxpr, closed.consts, [images])
    return graph.finish(name, images, logits)


def _run(graph: Graph, jaxpr: Any, constants: Any, inputs: list[Value]) -> list[Value]:
    values: dict[Any, Value] = dict(zip(jaxpr.invars, inputs, strict=True))
    values |= {
        var: _constant(np.asarray(array)) for var, array in zip(jaxpr.constvars, constants, strict=True)
    }

    def read(atom: Any) -> Value:
        return _constant(np.asarray(atom.val, atom.aval.dtype)) if hasattr(atom, "val") else values[atom]

    for equation in jaxpr.eqns:
        operands = [read(atom) for atom in equation.invars]
        values |= zip(equation.outvars, _apply(graph, equation, operands), strict=True)
    return [read(atom) for atom in jaxpr.outvars]


def _constant(array: np.ndarray) -> Value:
    return Value(array.shape, array.dtype, array=array)


def _apply(graph: Graph, equation: Any, operands: list[Value]) -> list[Value]:
    name, params = equation.primitive.name, equation.params
    loops = name in ("scan", "while", "cond")
    if not loops and (inner := next((params[key] for key in CALLS if key in params), None)) is not None:
        closed = hasattr(inner, "consts")
        return _run(graph, inner.jaxpr if closed else inner, inner.consts if closed else (), operands)
    results = [var.aval for var in equation.outvars]
    constants = [value.array for value in operands if value.array is not None]
    if len(constants) == len(operands) and is_static(results[0].shape):
        # JAX computes what depends on constants alone now.
        shapes = [value.shape if is_static(value.shape) else value.held for value in operands]
        arrays = [np.broadcast_to(array, shape) for array, shape in zip(constants, shapes, strict=True)]
        computed = equation.primitive.bind(*arrays, **params)
        return [
            _constant(np.asarray(x))
            for x in (computed if equation.primitive.multiple_results else [computed])
        ]
    if name not in OPERATIONS:
        raise ExportError(f"ONNX: the network has the operation {name!r}, which has no translation here")
    shape, dtype = tuple(results[0].shape), np.dtype(results[0].dtype)
    return [OPERATIONS[name](graph, Value(shape, dtype), operands, params)]
