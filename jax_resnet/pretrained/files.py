"""The files of pretrained networks: which there are, and what is in them."""

import fnmatch
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path

from jax_resnet._text import did_you_mean, natural
from jax_resnet.errors import WeightsError
from jax_resnet.pretrained.card import Card, parse_card
from jax_resnet.pretrained.schema import NAME

__all__ = [
    "CARD",
    "FOLDER",
    "WEIGHTS",
    "Folder",
    "check_sum",
    "list_pretrained",
    "read_card",
    "weights_file",
    "weights_path",
]

Folder = str | os.PathLike[str] | None

WEIGHTS, CARD = ".safetensors", ".json"
LARGEST_CARD = 2**20

# Where weights and cards are unless a call says otherwise; inside a zip file where the package is in one.
FOLDER: Traversable = files("jax_resnet.pretrained")


def list_pretrained(pattern: str = "*", *, folder: Folder = None) -> list[str]:
    """Names of the pretrained networks that match a shell pattern, in order: ``"*.cifar10"``.

    Args:
        pattern: A shell pattern.
        folder: Where weights and cards are; the package's own by default.

    Raises:
        WeightsError: The folder cannot be read.
    """
    there = _names(_folder(folder))
    names = {name.removesuffix(CARD) for name in there if name.endswith(CARD)}
    complete = [name for name in names if name + WEIGHTS in there and NAME.fullmatch(name)]
    return sorted(fnmatch.filter(complete, pattern), key=natural)


def read_card(name: str, *, folder: Folder = None) -> Card:
    """The card of a pretrained network; its weights are not read.

    Raises:
        WeightsError: There is no such name; the message has near misses. Or the card cannot be read, or is
            damaged.
    """
    try:
        with _find(name, CARD, folder).open("rb") as file:
            text = file.read(LARGEST_CARD)
    except OSError as error:
        raise WeightsError(f"the card of {name} cannot be read: {error.strerror}") from None
    card = parse_card(text, f"the card of {name}")
    if card.name != name:
        raise WeightsError(f"the card of {name} is that of {card.name}")
    return card


@contextmanager
def weights_file(name: str, *, folder: Folder = None) -> Iterator[Path]:
    """Yields the weights' file; unpacked for as long, where the package is in a zip file.

    Raises:
        WeightsError: There is no such name; the message has near misses.
    """
    with as_file(_find(name, WEIGHTS, folder)) as path:
        yield path


def weights_path(name: str, *, folder: Folder = None) -> Path:
    """The safetensors file of a pretrained network, with torchvision's names, for other programs to read.

    Raises:
        WeightsError: There is no such name, or the package is in a zip file.
    """
    found = _find(name, WEIGHTS, folder)
    if not isinstance(found, Path):
        raise WeightsError(f"{name} is inside a zip file: unpack it, or load_pretrained reads it there")
    return found


def check_sum(path: Path, card: Card) -> None:
    """Checks a weights' file against its card.

    Raises:
        WeightsError: It has other contents, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"the weights of {card.name} cannot be read: {error.strerror}") from None
    if found != card.sha256:
        raise WeightsError(
            f"the weights of {card.name} are damaged: {path.name} has another SHA-256 than its card says; "
            "install the package again"
        )


def _folder(folder: Folder) -> Traversable:
    return FOLDER if folder is None else Path(folder)


def _names(folder: Traversable) -> set[str]:
    try:
        return {entry.name for entry in folder.iterdir() if entry.is_file()}
    except OSError as error:
        raise WeightsError(f"{folder} cannot be read: {error.strerror}") from None


def _find(name: str, suffix: str, folder: Folder) -> Traversable:
    known = list_pretrained(folder=folder)
    if name not in known:
        for there, missing in ((CARD, WEIGHTS), (WEIGHTS, CARD)):
            if isinstance(name, str) and NAME.fullmatch(name) and name + there in _names(_folder(folder)):
                raise WeightsError(f"{name}{missing} is missing: install the package again")
        raise WeightsError(f"no pretrained network is called {name!r}; {_advice(str(name), known)}")
    return _folder(folder).joinpath(name + suffix)


def _advice(name: str, known: list[str]) -> str:
    if not known:
        return "there are none in this installation"
    return did_you_mean(name, known) or f"there are {', '.join(known)}"
