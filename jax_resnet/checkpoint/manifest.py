"""Checksums of a checkpoint's files, so that damage is named before anything is read."""

import json
import zlib
from pathlib import Path

NAME = "manifest.json"


def write(folder: Path) -> None:
    """Lists size and CRC-32 of every file under ``folder`` in ``folder/manifest.json``, atomically."""
    listing = {str(file.relative_to(folder)): _describe(file) for file in _files(folder)}
    draft = folder / f".{NAME}"
    draft.write_text(json.dumps(listing, indent=1))
    draft.replace(folder / NAME)


def damage(folder: Path) -> str:
    """What differs from the manifest, in words; empty where nothing does, or there is no manifest."""
    try:
        listing = json.loads((folder / NAME).read_text())
    except FileNotFoundError:
        return ""
    except ValueError:
        return f"{NAME} is no JSON"
    for name, (size, checksum) in listing.items():
        file = folder / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != size:
            return f"{name} has {file.stat().st_size} bytes, not {size}"
        if _describe(file)[1] != checksum:
            return f"{name} has other contents than were written"
    return ""


def _files(folder: Path) -> list[Path]:
    return sorted(
        file for file in folder.rglob("*") if file.is_file() and file.name not in (NAME, f".{NAME}")
    )


def _describe(file: Path) -> tuple[int, int]:
    content = file.read_bytes()
    return len(content), zlib.crc32(content)
