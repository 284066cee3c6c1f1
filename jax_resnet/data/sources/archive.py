"""Reads named files out of a tar or zip archive or a folder, into memory and within bounds."""

import bz2
import gzip
import io
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

from jax_resnet._text import first_line
from jax_resnet.errors import DataError

__all__ = ["MAX_FILE_BYTES", "check_regular", "gunzip", "read_bounded", "read_files"]

# The largest original file (a pickled CIFAR-100 training set, 155 MB) fits; an endless one does not.
MAX_FILE_BYTES = 256 << 20
# All files of an archive, unpacked. The original archives hold 190 MB at most.
MAX_ARCHIVE_BYTES = 512 << 20
MAX_MEMBERS = 10_000


def read_files(path: Path, wanted: Collection[str]) -> dict[str, bytes]:
    """Reads the files of the given names from an archive, or from a folder or its subfolders.

    Nothing of an archive is ever written to disk, so no member can leave its folder.

    Args:
        path: A tar archive, compressed in any way, a zip archive, or a folder.
        wanted: File names without folders.

    Returns:
        The contents by file name, of those that are there.

    Raises:
        DataError: The path is missing, damaged, or not to be trusted; the message names it.
    """
    check_regular(path, or_folder=True)
    try:
        if path.is_dir():
            return _read_folder(path, wanted)
        return _read_zip(path, wanted) if _starts_with(path, b"PK\x03\x04") else _read_tar(path, wanted)
    except DataError:
        raise
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is truncated or damaged ({first_line(error)})") from error
    except tarfile.TarError as error:
        raise DataError(f"{path} is not a complete tar archive ({first_line(error)})") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or first_line(error)})") from error
    except Exception as error:  # a damaged archive can fail in any way
        raise DataError(f"{path} is not a readable archive ({first_line(error)})") from error


def check_regular(path: Path, *, or_folder: bool = False) -> None:
    """Checks that a path is a file with an end, before anything opens it: pipes and devices have none.

    Raises:
        DataError: The path is missing or is something else.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{path} does not exist: name an archive or its extracted folder") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{str(path)!r} cannot be read ({first_line(error)})") from error
    if not (stat.S_ISREG(mode) or (or_folder and stat.S_ISDIR(mode))):
        raise DataError(f"{path} is refused: it is not a regular file{' or folder' if or_folder else ''}")


def read_bounded(path: Path, limit: int = MAX_FILE_BYTES) -> bytes:
    """The content of a regular file.

    Raises:
        DataError: The file cannot be read or has more than ``limit`` bytes.
    """
    check_regular(path)
    try:
        with path.open("rb") as file:
            return _read_all(file, str(path), limit)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from error


def gunzip(blob: bytes, origin: str) -> bytes:
    """Decompresses gzip data.

    Raises:
        DataError: The data is damaged or has more than ``MAX_FILE_BYTES`` bytes.
    """
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(blob)) as file:
            return _read_all(file, origin)
    except (EOFError, zlib.error, OSError) as error:
        raise DataError(f"{origin} is truncated or damaged ({first_line(error)})") from error


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def _read_all(file: _Readable, origin: str, limit: int = MAX_FILE_BYTES) -> bytes:
    content = file.read(limit + 1)
    if len(content) > limit:
        raise DataError(f"{origin} is refused: it has more than {limit:,} bytes")
    return content


def _read_folder(folder: Path, wanted: Collection[str]) -> dict[str, bytes]:
    for place in [folder, *sorted(child for child in folder.iterdir() if child.is_dir())]:
        found = {name: place / name for name in wanted if (place / name).is_file()}
        if found:
            return {name: read_bounded(file) for name, file in found.items()}
    return {}


def _read_tar(path: Path, wanted: Collection[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with path.open("rb") as raw, _decompressed(raw) as plain:
        # As a stream, so that the bound holds for all that tarfile reads, its headers included.
        bounded: IO[bytes] = _Bounded(plain, path)  # type: ignore[assignment]
        with tarfile.open(fileobj=bounded, mode="r|") as tar:
            for count, member in enumerate(tar):
                if count >= MAX_MEMBERS:
                    raise DataError(f"{path} is refused: it has more than {MAX_MEMBERS:,} members")
                # Nothing is written to disk, but an archive with such a name was made to do harm. Python
                # before 3.11.4 lacks tarfile's own filters.
                if ".." in PurePosixPath(member.name).parts:
                    name = repr(member.name[:100])
                    raise DataError(f"{path} is refused: it has a member that leaves its folder ({name})")
                name = PurePosixPath(member.name).name
                if name not in wanted or member.isdir():
                    continue
                _check_member(path, member.name, member.size, member.isfile() and not member.issparse())
                if name in found:
                    raise DataError(f"{path} is refused: it holds {name} twice")
                file = tar.extractfile(member)
                assert file is not None
                found[name] = file.read()
    return found


def _read_zip(path: Path, wanted: Collection[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) > MAX_MEMBERS:
            raise DataError(f"{path} is refused: it has more than {MAX_MEMBERS:,} members")
        for member in members:
            name = PurePosixPath(member.filename).name
            if name not in wanted or member.is_dir():
                continue
            _check_member(path, member.filename, member.file_size, plain=not member.flag_bits & 1)
            if name in found:
                raise DataError(f"{path} is refused: it holds {name} twice")
            with archive.open(member) as file:
                found[name] = _read_all(file, f"{path}: {name}")
    return found


def _check_member(path: Path, name: str, size: int, plain: bool) -> None:
    if not plain or not 0 <= size <= MAX_FILE_BYTES:
        raise DataError(f"{path} is refused: {name} is not a plain file of a sensible size")


def _starts_with(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def _decompressed(raw: IO[bytes]) -> IO[bytes]:
    magic = raw.read(6)
    raw.seek(0)
    if magic[:2] == b"\x1f\x8b":
        return gzip.GzipFile(fileobj=raw)  # type: ignore[return-value]
    if magic[:3] == b"BZh":
        return bz2.BZ2File(raw)
    if magic == b"\xfd7zXZ\0":
        return lzma.LZMAFile(raw)
    return raw


class _Bounded:
    """A file that refuses to be read past ``MAX_ARCHIVE_BYTES``, so that bombs fail early."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file, self._path, self._left = file, path, MAX_ARCHIVE_BYTES

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(self._left + 1 if size < 0 else min(size, self._left + 1))
        self._left -= len(content)
        if self._left < 0:
            raise DataError(f"{self._path} is refused: it unpacks to more than {MAX_ARCHIVE_BYTES:,} bytes")
        return content
