"""Accuracies that others have published, from ``published.toml``."""

import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from experiments.runs.markdown import Markup, link

__all__ = ["PUBLISHED", "Number", "PublishedNetwork", "read_published"]

PUBLISHED = Path(__file__).with_name("published.toml")


class Number(NamedTuple):
    """A published test accuracy.

    Attributes:
        accuracy: In percent.
        title: Who reports it.
        url: Where.
    """

    accuracy: float
    title: str
    url: str

    @property
    def cell(self) -> Markup:
        """The number as a link to its source."""
        return link(f"{self.accuracy:.2f} ({self.title})", self.url)


class PublishedNetwork(NamedTuple):
    """A network with numbers that others have published for CIFAR-10.

    Attributes:
        arch: The network's name here.
        flags: The flags of ``experiments.cifar10`` that come nearest to its paper.
        paper: The paper's number; None where no paper has one.
        pytorch: The best public number of PyTorch code that we know; None where we know none.
    """

    arch: str
    flags: str
    paper: Number | None
    pytorch: Number | None

    @property
    def command(self) -> str:
        """The command that trains it."""
        return f"python -m experiments.cifar10 --arch {self.arch} {self.flags}"


def read_published(path: Path = PUBLISHED) -> list[PublishedNetwork]:
    """The networks in the order of the file."""
    content = tomllib.loads(path.read_text(encoding="utf-8"))

    def number(network: dict[str, Any], name: str) -> Number | None:
        if name not in network:
            return None
        source = content["sources"][network[name]["source"]]
        return Number(network[name]["accuracy"], source["title"], source["url"])

    return [
        PublishedNetwork(row["arch"], row["flags"], number(row, "paper"), number(row, "pytorch"))
        for row in content["networks"]
    ]
