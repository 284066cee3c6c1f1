"""Reads PyTorch's files without running code from them.

PyTorch's own restricted unpickler does the reading (``torch.load`` with ``weights_only=True``). It refuses
files that also hold objects of other classes, which training programs save beside the weights: command-line
arguments, numpy numbers, paths, dates. Here such an object becomes a ``StandIn``, an empty object: no class
is looked up or imported by its name, and nothing of the file is called.
"""

import collections
import pickletools
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from jax_resnet._text import first_line
from jax_resnet.errors import WeightsError

__all__ = ["StandIn", "read_pytorch"]

# Modules that PyTorch never lets a file name; ``bytearray`` makes as many bytes as a file asks for.
HARMFUL_MODULES = ("os", "posix", "nt", "sys")
HARMFUL = ("builtins.bytearray",)
# A file from before PyTorch 1.6 begins with four pickles: two numbers, the system, the content.
_OLD_PICKLES = 4
_ZIP = b"PK\x03\x04"
_NEWEST_PROTOCOL = 2  # the newest that PyTorch's restricted unpickler knows
_LARGEST_PICKLE = 2**28
_LARGEST_RATIO = 16


class StandIn:
    """An object of a file whose class is not known here; ``class_name`` is all that is kept of it."""

    class_name = "object"

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Ignores what the file says the object is made of."""

    def __setstate__(self, state: Any) -> None:
        """Ignores what the file says the object holds."""


class MappingStandIn:
    """Stands in for subclasses of dict, into which PyTorch's unpickler puts items."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return collections.OrderedDict()


class ListStandIn:
    """Stands in for ``collections.deque``."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return []


KNOWN_STAND_INS: dict[str, type] = {
    "collections.defaultdict": MappingStandIn,
    "collections.deque": ListStandIn,
}


def read_pytorch(path: Path, torch: Any) -> Any:
    """What a PyTorch file holds, its tensors on the CPU.

    Args:
        path: The file.
        torch: The module.

    Raises:
        WeightsError: The file is damaged, of another kind, or names something harmful.
    """
    try:
        names, protocol = _global_names(path)
    except Exception as error:  # pickletools and zipfile raise many kinds for a damaged file
        raise WeightsError(f"{path} is not a PyTorch file of weights alone: {first_line(error)}") from None
    for name in names:
        if name.split(".")[0] in HARMFUL_MODULES or name in HARMFUL:
            raise WeightsError(f"{path} names {name}, which no weights need: it is not read")
    if protocol > _NEWEST_PROTOCOL:
        raise WeightsError(
            f"{path} is written with pickle protocol {protocol}: save it with torch.save's own protocol"
        )
    failure: Exception | None = None
    # Objects that take items are mappings; the file does not say which ones these are.
    for unknown in (StandIn, MappingStandIn):
        try:
            return _load(path, torch, {name: _stand_in(name, unknown) for name in names})
        except Exception as error:  # PyTorch raises many kinds for a damaged file
            failure = failure or error
    assert failure is not None
    reason = first_line(failure.__context__ or failure)
    raise WeightsError(f"{path} is not a PyTorch file of weights alone: {reason}")


def _stand_in(name: str, unknown: type) -> type:
    if name in KNOWN_STAND_INS:
        return KNOWN_STAND_INS[name]
    return type("StandIn", (unknown,), {"class_name": name})


def _load(path: Path, torch: Any, stand_ins: dict[str, type]) -> Any:
    allowed = [(stand_in, name) for name, stand_in in stand_ins.items()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of old files, and of tensors of kinds that are refused later
        with torch.serialization.safe_globals(allowed):
            return torch.load(path, map_location="cpu", weights_only=True)


def _global_names(path: Path) -> tuple[set[str], int]:
    """Full names of all classes and functions that a file names, and the pickle protocol it is written in."""
    with path.open("rb") as file:
        if file.read(len(_ZIP)) != _ZIP:
            file.seek(0)
            return _scan(file, _OLD_PICKLES)
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(member.filename.endswith("constants.pkl") for member in members):
            raise WeightsError("it is a TorchScript program: save module.state_dict() instead")
        if sum(member.file_size for member in members) > _LARGEST_RATIO * path.stat().st_size + 2**20:
            raise WeightsError("it is compressed beyond what weights can be")
        pickles = [member for member in members if member.filename.endswith("data.pkl")]
        if len(pickles) != 1:
            raise WeightsError("it is a zip archive without PyTorch's data.pkl")
        if pickles[0].file_size > _LARGEST_PICKLE:
            raise WeightsError(f"its pickle is larger than {_LARGEST_PICKLE:,} bytes")
        with archive.open(pickles[0]) as file:
            return _scan(file, 1)


def _scan(file: IO[bytes], pickles: int) -> tuple[set[str], int]:
    names: set[str] = set()
    protocol = 0
    for _ in range(pickles):
        for name, number in _globals_of_one(file):
            protocol = max(protocol, number)
            if name:
                names.add(name)
    return names, protocol


def _globals_of_one(file: IO[bytes]) -> Iterator[tuple[str, int]]:
    """Names in one pickle, or empty strings, each with the protocol its operation belongs to."""
    for operation, argument, _ in pickletools.genops(file):
        if operation.name in ("GLOBAL", "INST"):
            yield _today(*str(argument).split(" ", 1)), operation.proto
        else:
            yield "", operation.proto


def _today(module: str, name: str) -> str:
    """The full name of a class in Python 3, as PyTorch maps names from Python 2."""
    from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING

    module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
    return f"{module}.{name}"
