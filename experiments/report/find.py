"""Finds run folders."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from experiments.program.errors import ConfigError
from experiments.runs.text import printable
from jax_resnet._text import did_you_mean

__all__ = ["find_runs"]

# A folder with one of these files is a run's.
SIGNS = ("config.json", "summary.json", "metrics.jsonl")


def find_runs(paths: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """The run folders among the paths, or at any depth inside of them, each once.

    Returns:
        The folders in order, and notes on those named twice or that cannot be listed.

    Raises:
        ConfigError: A path holds no run.
    """
    found: dict[Path, Path] = {}
    notes: list[str] = []
    for path in paths:
        if not path.is_dir():
            state = "a file" if path.exists() else "not there"
            raise ConfigError(f"{printable(str(path))} is {state}{_hint(path)}")
        inside = list(_search(path, notes))
        if not inside:
            raise ConfigError(f"{printable(str(path))} holds no run: none of {', '.join(SIGNS)}{_hint(path)}")
        for folder in inside:
            if folder.resolve() in found:
                notes.append(f"{printable(str(folder))} was named more than once and counts once.")
            found.setdefault(folder.resolve(), folder)
    return list(found.values()), notes


def _is_run(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return any((path / sign).is_file() for sign in SIGNS)
    return False


def _search(top: Path, notes: list[str]) -> Iterator[Path]:
    """Run folders in alphabetical order; links that lead around in circles are followed once."""
    waiting, seen = [top], set()
    while waiting:
        path = waiting.pop()
        try:
            if (real := path.resolve()) in seen:
                continue
            seen.add(real)
            if _is_run(path):
                yield path
                continue
            inside = [p for p in path.iterdir() if not p.name.startswith(".") and p.is_dir()]
            waiting += sorted(inside, reverse=True)
        except (OSError, RuntimeError) as error:  # RuntimeError: a link to itself
            reason = getattr(error, "strerror", None) or "a link in a circle"
            notes.append(f"{printable(str(path))} cannot be searched: {reason.lower()}.")


def _hint(path: Path) -> str:
    with contextlib.suppress(OSError):
        siblings = [folder for folder in path.absolute().parent.iterdir() if folder.name != path.name]
        runs = [folder.name for folder in siblings if any(map(_is_run, [folder, *folder.glob("*")]))]
        if hint := did_you_mean(printable(path.name), runs, count=1):
            return f"; {hint}"
    return "; name a run's folder, or a folder that holds some"
