"""What all figures share: style, colors, fonts for any script, text drawn literally, files."""

import contextlib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import font_manager
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from experiments.runs.text import printable
from jax_resnet._files import write_bytes

__all__ = [
    "GRID",
    "INK",
    "Labels",
    "drawable_labels",
    "drawable_title",
    "figure_style",
    "installed_fonts",
    "render_figure",
    "save_figure",
]

INK, GRID = "#222222", "#dddddd"
BASE_FONT = "DejaVu Sans"  # ships with Matplotlib
STYLE: dict[str, Any] = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 10,
    "grid.color": GRID,
    "svg.fonttype": "none",  # text stays text
    "text.color": INK,
    "text.parse_math": False,  # names with dollar signs are names, not formulas
    "xtick.color": INK,
    "ytick.color": INK,
}
# Variation selectors and joiners change how neighbors look; they have no glyphs of their own.
WITHOUT_GLYPHS = dict.fromkeys([*range(0xFE00, 0xFE10), 0x200C, 0x200D])


class Labels(NamedTuple):
    """Texts that a figure can show.

    Attributes:
        texts: One for each name.
        fonts: The font families that together have all their characters.
        notes: What could not be shown, for people.
    """

    texts: list[str]
    fonts: list[str]
    notes: list[str]


def drawable_labels(
    names: Sequence[str], limit: int = 40, *, fonts: Sequence[tuple[str, str]] | None = None
) -> Labels:
    """Prepares names of any script for a figure.

    A name with characters that no installed font has is replaced by its number.

    Args:
        names: Any strings.
        limit: Number of characters kept of each.
        fonts: Family and file of the fonts to choose from; the installed ones by default.
    """
    texts = [printable(name, limit).translate(WITHOUT_GLYPHS) for name in names]
    chosen, missing = _choose_fonts(frozenset("".join(texts)), fonts)
    if not missing:
        return Labels(texts, chosen, [])
    replaced = [str(i) if missing.intersection(text) else text for i, text in enumerate(texts)]
    sample = "".join(sorted(missing)[:8])
    note = (
        f"no installed font has the characters {sample}: names with such characters are shown by their "
        "numbers in figures; fonts such as Noto have them"
    )
    return Labels(replaced, chosen, [note])


def drawable_title(title: str, limit: int = 120) -> tuple[str, list[str]]:
    """A heading of any script, question marks for characters that no installed font has, and its fonts."""
    text = printable(title, limit).translate(WITHOUT_GLYPHS)
    fonts, missing = _choose_fonts(frozenset(text))
    return "".join("?" if character in missing else character for character in text), fonts


@contextlib.contextmanager
def figure_style(
    fonts: Sequence[str] = (BASE_FONT,), changes: Mapping[str, Any] = MappingProxyType({})
) -> Iterator[None]:
    """A context in which figures are made and saved in the project's style, with changed ``rcParams``."""
    parameters: Any = {**STYLE, "font.family": list(fonts), **changes}
    with plt.rc_context(parameters):
        yield


def render_figure(figure: Figure, form: str) -> bytes:
    """The figure as the bytes of a "png" or "svg" file; equal figures give equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=form, dpi=140, metadata={"Date": None} if form == "svg" else None)
    return buffer.getvalue()


def save_figure(figure: Figure, paths: Iterable[Path]) -> None:
    """Writes the figure into files, whose suffixes name the formats, and closes it."""
    try:
        for path in paths:
            write_bytes(path, render_figure(figure, path.suffix[1:]))
    finally:
        plt.close(figure)


def _choose_fonts(
    characters: frozenset[str], fonts: Sequence[tuple[str, str]] | None = None
) -> tuple[list[str], frozenset[str]]:
    """The base font, then those that have what it lacks; and what none has."""
    chosen = [BASE_FONT]
    missing = characters - _characters(font_manager.findfont(BASE_FONT))
    for family, path in (installed_fonts() if fonts is None else fonts) if missing else ():
        if found := missing & _characters(path):
            chosen.append(family)
            missing -= found
            if not missing:
                break
    return chosen, missing


@lru_cache(maxsize=1)
def installed_fonts() -> list[tuple[str, str]]:
    """Family and file of every installed upright font of normal weight."""
    # Matplotlib keeps a list of fonts, in which those installed since are missing.
    listed = {entry.fname for entry in font_manager.fontManager.ttflist}
    for path in sorted(set(font_manager.findSystemFonts()) - listed):
        with contextlib.suppress(OSError, RuntimeError, ValueError):  # damaged, or of another format
            font_manager.fontManager.addfont(path)
    entries = sorted(font_manager.fontManager.ttflist, key=lambda entry: (entry.name, entry.fname))
    found = {entry.name: entry.fname for entry in reversed(entries) if _is_upright(entry)}
    return list(reversed(found.items()))


def _is_upright(entry: font_manager.FontEntry) -> bool:
    if entry.name.startswith(("cm", "Last Resort")):  # TeX's own encodings; boxes for every character
        return False
    return entry.style == "normal" and entry.weight in (400, "normal", "regular")


@lru_cache(maxsize=256)
def _characters(path: str) -> frozenset[str]:
    try:
        font = font_manager.get_font(path)
        return frozenset(map(chr, font.get_charmap())) if font.scalable else frozenset()
    except (OSError, RuntimeError):  # damaged, or of a kind that Matplotlib cannot read
        return frozenset()
