"""File systems to fill. Mounting one needs root on Linux."""

import contextlib
import subprocess
from pathlib import Path

FILLER = "filler"


@contextlib.contextmanager
def mounted(folder: Path, kib: int):
    """An empty file system of ``kib`` KiB in ``folder``, which is made.

    Raises:
        OSError: None can be mounted here.
    """
    folder.mkdir(exist_ok=True)
    try:
        result = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", folder], capture_output=True, text=True
        )
    except FileNotFoundError:
        raise OSError("there is no mount here") from None
    if result.returncode:
        raise OSError(f"no file system can be mounted here: {result.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def grow(folder: Path, kib: int) -> None:
    """Gives a mounted file system another size."""
    subprocess.run(["mount", "-o", f"remount,size={kib}k", folder], check=True)


@contextlib.contextmanager
def full(folder: Path, left: int):
    """Fills a file system but for ``left`` KiB."""
    filler = folder / FILLER
    written = 0
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            written += file.write(bytes(4096))
    with filler.open("r+b") as file:
        file.truncate(max(0, written - 1024 * left))
    try:
        yield
    finally:
        filler.unlink()
