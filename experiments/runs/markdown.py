"""Tables in GitHub's Markdown, aligned so that they can be read as they are too."""

import re
from collections.abc import Sequence
from urllib.parse import quote

from rich.cells import cell_len

__all__ = ["Markup", "code", "escape", "link", "markdown_table"]

# What Markdown, or GitHub's additions to it, would read as markup anywhere in a line.
_MARKUP = re.compile(r"[\\`*|<~$\[]|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_])")


class Markup(str):
    """Markdown that stays as it is, in a cell of a table; it holds no bare ``|``."""


def code(text: str) -> Markup:
    """Text in the font of code, such as a command."""
    line = " ".join(text.split()).replace("|", "\\|")
    fence = "``" if "`" in line else "`"
    return Markup(f"{fence} {line} {fence}" if "`" in line else f"`{line}`")


def link(text: str, address: str) -> Markup:
    """A link: ``address`` is a URL, or a path with slashes relative to the page."""
    return Markup(f"[{escape(text)}]({quote(address, safe='/:#?=&%')})")


def escape(text: str) -> str:
    r"""Returns the Markdown that shows ``text`` as it is, in one line.

    Underscores within a word mean nothing to Markdown and stay.

    Example:
        >>> print(escape("resnext29_32x4d  *new* | 3 < 4"))
        resnext29_32x4d \*new\* \| 3 \< 4
    """
    return _MARKUP.sub(r"\\\g<0>", " ".join(text.split()))


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool]) -> str:
    """Formats a table; cells are plain text, in which markup is escaped, or ``Markup``.

    Args:
        header: Title of each column.
        rows: Rows of as many cells as the header has titles.
        numeric: Whether each column holds numbers, which are set flush right.

    Returns:
        The lines of the table, each ending in a newline.

    Example:
        >>> rows = [["resnet20", "193"], ["vgg16", "7"]]
        >>> print(markdown_table(["network", "ms"], rows, numeric=[False, True]), end="")
        | network  |  ms |
        |----------|----:|
        | resnet20 | 193 |
        | vgg16    |   7 |
    """
    lines = [
        [cell if isinstance(cell, Markup) else escape(cell) for cell in line] for line in (header, *rows)
    ]
    # Two at least, so that a rule has a dash beside its colon.
    widths = [max(2, *map(cell_len, column)) for column in zip(*lines, strict=True)]
    columns = list(zip(widths, numeric, strict=True))
    rule = "|".join("-" * (width + 1) + (":" if right else "-") for width, right in columns)
    head, *body = (
        " | ".join(_pad(cell, width, right) for cell, (width, right) in zip(line, columns, strict=True))
        for line in lines
    )
    return "".join(f"{line}\n" for line in (f"| {head} |", f"|{rule}|", *(f"| {line} |" for line in body)))


def _pad(cell: str, width: int, right: bool) -> str:
    space = " " * (width - cell_len(cell))
    return space + cell if right else cell + space
