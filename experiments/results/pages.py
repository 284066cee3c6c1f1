"""Writes tables between the markers of Markdown pages, or compares what is there."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from experiments.program.errors import ConfigError, ExperimentError
from experiments.results.kept import Kept, read_kept
from experiments.results.tables import TABLES
from experiments.runs.text import printable
from jax_resnet._files import write_text
from jax_resnet._text import did_you_mean

__all__ = ["fill_page", "write_pages"]

MARKER = re.compile(r"^<!-- results: *(.*?) *-->$")
END = "<!-- /results -->"
SHOWN = 120  # characters of a line that differs


def write_pages(pages: Sequence[Path], results: Path, *, check: bool, report: Callable[[str], None]) -> None:
    """Writes every table of the pages from the kept runs.

    Args:
        pages: Markdown files.
        results: The folder of the kept runs.
        check: Write nothing, compare.
        report: Gets a line per page.

    Raises:
        ConfigError: A page or a marker is not as it should be, or there are no kept runs.
        ExperimentError: ``check``, and a page differs from its tables; names the first line that does.
    """
    kept = read_kept(results)
    texts = {page: _read(page) for page in pages}
    filled = {page: fill_page(text, kept, page) for page, text in texts.items()}
    differing = [page for page in pages if filled[page] != texts[page]]
    if check and differing:
        differences = "; ".join(_difference(page, texts[page], filled[page]) for page in differing)
        raise ExperimentError(f"{differences}: python -m experiments.results tables writes it")
    for page in pages:
        if page in differing:
            write_text(page, filled[page])
        report(f"{page}: {'written' if page in differing else 'up to date'}")


def fill_page(text: str, kept: Kept, page: Path) -> str:
    """The page with its tables made anew; all else stays as it is.

    A table stands between ``<!-- results: NAME -->`` and ``<!-- /results -->``. Patterns after the name,
    such as ``fast-*``, choose kept runs by the names of their folders; ``!fast-*`` leaves them out.

    Raises:
        ConfigError: There is no marker, none of that name, or one without its end.
    """
    filled: list[str] = []
    found, table = 0, ""  # the table that is being skipped
    for number, line in enumerate(text.split("\n"), 1):
        marker = MARKER.match(line)
        if table and marker:
            raise ConfigError(f"{page}, line {number}: the table {table} has no {END} before this one")
        if not table:
            filled.append(line)
        if marker:
            found += 1
            table, *patterns = marker[1].split() or [""]
            if table not in TABLES:
                hint = did_you_mean(table, TABLES, 1) or f"there are {', '.join(TABLES)}"
                raise ConfigError(f"{page}, line {number}: no table is called {table or 'nothing'}; {hint}")
            made = TABLES[table](kept.chosen(patterns), page.parent).rstrip("\n")
            filled += ["", *made.split("\n"), ""]
        elif table and line == END:
            filled.append(line)
            table = ""
    if table:
        raise ConfigError(f"{page}: the table {table} has no {END} after it")
    if not found:
        raise ConfigError(f"{page} has no <!-- results: TABLE -->; tables are {', '.join(TABLES)}")
    return "\n".join(filled)


def _read(page: Path) -> str:
    try:
        return page.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise ConfigError(f"{page}: {reason.lower()}; run this in the repository's folder") from None


def _difference(page: Path, text: str, filled: str) -> str:
    """The first line that differs, in one line."""
    old, new = text.split("\n"), filled.split("\n")
    pairs = zip([*old, *[""] * len(new)], [*new, *[""] * len(old)], strict=False)
    number, (is_, would) = next((n, pair) for n, pair in enumerate(pairs, 1) if pair[0] != pair[1])
    # From where they part: tables have long lines.
    start = next((i for i, (a, b) in enumerate(zip(is_, would, strict=False)) if a != b), 0)
    start = max(0, min(start, max(len(is_), len(would)) - 1) - 20)
    is_, would = (printable(part[start:], SHOWN) for part in (is_, would))
    return f"{page}, line {number} is {is_!r}, and from the kept runs it is {would!r}"
