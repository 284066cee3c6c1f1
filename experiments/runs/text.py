"""Names from files of unknown origin, made safe to print, draw and write."""

import unicodedata

__all__ = ["printable"]

# Control, formatting (text direction), surrogate, line and paragraph separator, and unassigned characters.
HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp", "Cn"})
JOINERS = "\u200c\u200d"  # Persian, Indic scripts and emoji need them.


def printable(text: str, limit: int = 200) -> str:
    r"""Replaces invisible characters by their escapes, and cuts long text.

    ``"a\nb"`` becomes ``"a\\nb"``; characters that turn the direction of text are escaped too.

    Args:
        text: Any string, also with lone surrogates.
        limit: Number of characters of ``text`` to keep; an ellipsis stands for the rest.

    Returns:
        Text on one line that every encoding of Unicode can hold.
    """
    kept = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(map(_visible, kept))


def _visible(character: str) -> str:
    if character in JOINERS or unicodedata.category(character) not in HIDDEN:
        return character
    return character.encode("unicode_escape").decode("ascii")
