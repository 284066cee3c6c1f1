"""Reads named files out of a tar archive or a folder, straight into memory."""

import gzip
import tarfile
import zlib
from collections.abc import Collection
from pathlib import Path

from jax_resnet.errors import DataError

# The largest original file (a pickled CIFAR-100 training set, 155 MB) fits; an endless one does not.
MAX_MEMBER_BYTES = 256 << 20


def read_files(path: Path, wanted: Collection[str]) -> dict[str, bytes]:
    """Reads the files of the given names from an archive, or from a folder or its subfolders.

    Nothing of an archive is ever written to disk, so no member can escape.

    Args:
        path: A tar archive, compressed in any way, or a folder.
        wanted: File names without folders.

    Returns:
        The contents by file name, of those that are there.

    Raises:
        DataError: naming `path`, if it is missing, damaged, or not to be trusted.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist: name an archive or its extracted folder")
    try:
        return _read_folder(path, wanted) if path.is_dir() else _read_tar(path, wanted)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is truncated or damaged ({error})") from error
    except tarfile.FilterError as error:
        raise DataError(f"{path} is refused: it has a member that leaves its folder ({error})") from error
    except tarfile.TarError as error:
        raise DataError(f"{path} is not a complete tar archive ({_first_line(error)})") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from error


def _read_folder(folder: Path, wanted: Collection[str]) -> dict[str, bytes]:
    for place in [folder, *sorted(child for child in folder.iterdir() if child.is_dir())]:
        found = {name: place / name for name in wanted if (place / name).is_file()}
        if found:
            return {name: file.read_bytes() for name, file in found.items()}
    return {}


def _read_tar(path: Path, wanted: Collection[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with tarfile.open(path, "r:*") as tar:
        for member in tar:
            tarfile.data_filter(member, ".")
            name = Path(member.name).name
            if name not in wanted or member.isdir():
                continue
            if name in found:
                raise DataError(f"{path} is refused: it holds {name} twice")
            if not member.isfile() or member.size > MAX_MEMBER_BYTES:
                raise DataError(f"{path} is refused: {member.name} is not a plain file of a sensible size")
            file = tar.extractfile(member)
            assert file is not None
            found[name] = file.read()
    return found


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
