"""Reads the pickles of CIFAR's Python archives without trust: plain values and arrays, and nothing is run."""

import io
import math
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from jax_resnet._text import first_line
from jax_resnet.errors import DataError

__all__ = ["read_pickle"]

# Opcodes that no CIFAR file has: they make objects, sets or buffers, or refer outside the file.
_REFUSED = (
    *(pickle.INST, pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX, pickle.EXT1, pickle.EXT2, pickle.EXT4),
    *(pickle.PERSID, pickle.BINPERSID, pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET),
    *(pickle.BYTEARRAY8, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER),
)


def read_pickle(blob: bytes, origin: str) -> Any:
    """Reads a pickle of lists, dictionaries, numbers, text, bytes and arrays.

    Args:
        blob: The pickle, of Python 2 or 3. Text of Python 2 becomes bytes.
        origin: Where it comes from, for the message.

    Raises:
        DataError: The pickle is damaged, or names or calls anything else.
    """
    try:
        content = _Unpickler(io.BytesIO(blob), encoding="bytes").load()
    except DataError as error:
        raise DataError(f"{origin} is refused: {error}") from error
    except Exception as error:  # a damaged pickle can fail in any way
        raise DataError(
            f"{origin} is not a readable pickle ({type(error).__name__}: {first_line(error)})"
        ) from error
    return _plain(content)


def _plain(value: Any) -> Any:
    """The value with its arrays, which may be the value or the values of a dictionary, as NumPy's."""
    if isinstance(value, _Array):
        return value.array
    if isinstance(value, dict):
        return {key: item.array if isinstance(item, _Array) else item for key, item in value.items()}
    return value


class _Dtype:
    """``numpy.dtype`` as pickled: a name such as "u1", and later its byte order."""

    def __init__(self, name: Any, *flags: Any) -> None:
        name = name.decode("latin1") if isinstance(name, bytes) else name
        if not isinstance(name, str) or not re.fullmatch(r"[iuf][1248]", name):
            raise DataError(f"its pickle holds an array of type {str(name)[:20]}")
        self.dtype = np.dtype(name)

    def set_state(self, state: Any) -> None:
        order = state[1].decode("latin1") if isinstance(state[1], bytes) else state[1]
        if order not in ("<", ">", "|", "="):
            raise DataError("its pickle holds an array of an unknown byte order")
        self.dtype = np.dtype(order + self.dtype.str[1:])


class _Array:
    """``numpy.ndarray`` as pickled; NumPy's own unpickling trusts the file too much."""

    array: np.ndarray | None = None

    def set_state(self, state: Any) -> None:
        _, shape, dtype, fortran, raw = state
        whole = isinstance(raw, bytes) and isinstance(dtype, _Dtype) and isinstance(shape, tuple)
        if not whole or len(shape) > 4 or any(type(size) is not int or size < 0 for size in shape):
            raise DataError("its pickle holds a malformed array")
        if math.prod(shape) * dtype.dtype.itemsize != len(raw):
            raise DataError(f"its pickle holds an array of {len(raw)} bytes whose shape is {shape}")
        self.array = np.frombuffer(raw, dtype.dtype).reshape(shape, order="F" if fortran else "C")


def _reconstruct(*arguments: Any) -> _Array:
    return _Array()


def _encode_latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise DataError(f"its pickle asks for the codec {encoding}")
    return text.encode("latin1")


_KNOWN: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): "numpy.ndarray",  # an argument of _reconstruct, which needs no value
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("_codecs", "encode"): _encode_latin1,
}
_CALLABLE = (_Dtype, _reconstruct, _encode_latin1)


_Base: Any = pickle._Unpickler  # typeshed leaves out its methods


class _Unpickler(_Base):
    """Python's unpickler in Python: unlike the one in C, it reserves no memory for what a file only promises.

    It is about 1 s slower for CIFAR-100's 50,000 file names.
    """

    dispatch: dict[int, Callable[..., None]] = {  # noqa: RUF012
        code: load for code, load in pickle._Unpickler.dispatch.items() if bytes([code]) not in _REFUSED
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise DataError(f"its pickle names {module}.{name}, which no CIFAR file needs")
        return _KNOWN[module, name]

    def load_reduce(self) -> None:
        arguments = self.stack.pop()
        if self.stack[-1] not in _CALLABLE:
            raise DataError("its pickle calls what cannot be called")
        self.stack[-1] = self.stack[-1](*arguments)

    dispatch[pickle.REDUCE[0]] = load_reduce

    def load_build(self) -> None:
        state = self.stack.pop()
        if not isinstance(self.stack[-1], _Dtype | _Array):
            raise DataError("its pickle sets the state of what has none")
        self.stack[-1].set_state(state)

    dispatch[pickle.BUILD[0]] = load_build

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._set_items(items)

    dispatch[pickle.DICT[0]] = load_dict

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items([key, value])

    dispatch[pickle.SETITEM[0]] = load_setitem

    def load_setitems(self) -> None:
        self._set_items(self.pop_mark())

    dispatch[pickle.SETITEMS[0]] = load_setitems

    def _set_items(self, items: list[Any]) -> None:
        # The hash of a deeply nested tuple would overflow the stack.
        if any(not isinstance(key, str | bytes | int) for key in items[::2]):
            raise DataError("its pickle holds a dictionary whose keys are not text")
        self.stack[-1].update(zip(items[::2], items[1::2], strict=True))
