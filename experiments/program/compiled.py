"""Compiled programs are kept in the user's cache, so that the second start of a program need not compile.

JAX's own cache writes its files in place: a killed process leaves half a file, and a program that loads a
damaged one may crash. So JAX gets a folder for this process alone. What it has written there is published
whole, with a checksum in the name, and only what agrees with its name is handed to the next process.
"""

import atexit
import contextlib
import hashlib
import os
import re
import shutil
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

from experiments.program.errors import ConfigError
from jax_resnet._files import expand_user

__all__ = [
    "AUTO",
    "OFF",
    "CompiledPrograms",
    "close_compiled",
    "keep_compiled",
    "key",
    "make_room",
    "store_compiled",
    "user_folder",
]

AUTO, OFF = "auto", "off"
LARGEST_BYTES = 256 * 2**20  # all of it is read at every start; a setting of a run takes 2 to 10 MiB
# JAX's own limit of a second leaves out most of what a start consists of.
SHORTEST_SECONDS = 0.02
_WORK_PREFIX, _WORK_DAYS = "process-", 7
_NAME = re.compile(r"(?P<program>.+-cache)\.(?P<checksum>[0-9a-f]{8})")

_programs: "CompiledPrograms | None" = None


def keep_compiled(where: str = AUTO) -> None:
    """Turns on JAX's compilation cache, unless one is configured, as by ``JAX_COMPILATION_CACHE_DIR``.

    Args:
        where: ``auto`` for the user's cache, which is left where it cannot be written; ``off``; or a folder.

    Raises:
        ConfigError: The folder cannot be written.
    """
    global _programs
    import jax

    config: Any = jax.config
    if where == OFF or config.jax_compilation_cache_dir or not config.jax_enable_compilation_cache:
        return
    try:
        base = user_folder() if where == AUTO else expand_user(where) / "jax_resnet-compiled"
        make_room(base, LARGEST_BYTES)
        _programs = CompiledPrograms(base / key())
    except OSError as error:
        if where == AUTO:
            return
        raise ConfigError(
            f"--compilation-cache {where}: {error.strerror}; name a folder that can be written, or off"
        ) from None
    config.update("jax_compilation_cache_dir", str(_programs.work))
    config.update("jax_persistent_cache_min_compile_time_secs", SHORTEST_SECONDS)
    config.update("jax_persistent_cache_enable_xla_caches", "none")
    atexit.register(close_compiled)


def store_compiled() -> None:
    """Keeps what has been compiled until now. Programs call it when they have compiled what they need."""
    if _programs is not None:
        _programs.publish()


def close_compiled() -> None:
    """Publishes, and removes this process's copy: at the end of a program."""
    if _programs is not None:
        _programs.close()


class CompiledPrograms:
    """A folder of compiled programs, and this process's copy of it."""

    def __init__(self, folder: Path) -> None:
        """Removes damaged programs and the copies of killed processes, and copies the rest.

        Files with other names belong to others and stay.

        Raises:
            OSError: The folder cannot be written.
        """
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        _remove_old_work(folder)
        self.work = Path(tempfile.mkdtemp(prefix=_WORK_PREFIX, dir=folder))
        self._known: set[str] = set()
        for file in sorted(folder.iterdir()):
            named = _NAME.fullmatch(file.name)
            with contextlib.suppress(OSError):
                if named is None or not file.is_file():
                    continue
                if named["checksum"] == _checksum(file):
                    self._link(file, self.work / named["program"])
                    self._known.add(named["program"])
                else:
                    file.unlink()

    def publish(self) -> None:
        """Gives what this process has compiled to the next ones. A full disk keeps it from that, no more."""
        for file in sorted(self.work.glob("*-cache")):
            if file.name not in self._known:
                with contextlib.suppress(OSError):
                    self._link(file, self.folder / f"{file.name}.{_checksum(file)}")
                self._known.add(file.name)

    def close(self) -> None:
        """Publishes, and removes this process's copy."""
        self.publish()
        shutil.rmtree(self.work, ignore_errors=True)

    def _link(self, source: Path, target: Path) -> None:
        """Gives a file a second name; a copy where the file system has no hard links."""
        try:
            os.link(source, target)
        except FileExistsError:
            return
        except OSError:
            draft = self.work / "draft"
            shutil.copyfile(source, draft)
            draft.replace(target)


def user_folder() -> Path:
    """The folder of compiled programs in the user's cache."""
    from jax_resnet.layers.onednn.cache import cache_folder

    return cache_folder().parent / "compiled"


def key() -> str:
    """What a compiled program depends on, apart from what is in JAX's own key.

    That has the program and the compiler's options in it. Our convolutions add the extension that a program
    calls, and the instruction sets that both are made for.
    """
    import jax
    import jaxlib

    from jax_resnet.layers.onednn import build

    parts = [jax.__version__, jaxlib.__version__, build.processor()]
    with contextlib.suppress(build.UnavailableError, OSError):
        recipe, onednn, compiler = build.Recipe(), build.find_onednn(), build.find_compiler()
        parts.append(build.cache_key(recipe, onednn, compiler, processor=parts[-1]))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def make_room(base: Path, largest: int) -> None:
    """Deletes the programs that were compiled first, until all under ``base`` take ``largest`` bytes at most.

    Args:
        base: A folder with a folder per key.
        largest: Their size in bytes.
    """
    files: list[tuple[float, int, Path]] = []
    for file in base.glob("*/*"):
        if _NAME.fullmatch(file.name):
            with contextlib.suppress(OSError):  # another program is making room too
                status = file.stat()
                files.append((status.st_mtime, status.st_size, file))
    excess = sum(size for _, size, _ in files) - largest
    for _, size, file in sorted(files):
        if excess <= 0:
            break
        with contextlib.suppress(OSError):
            file.unlink()
            excess -= size


def _remove_old_work(folder: Path) -> None:
    """Removes the copies of processes that were killed, but for those that may still run."""
    for work in folder.glob(f"{_WORK_PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - work.stat().st_mtime > _WORK_DAYS * 24 * 3600:
                shutil.rmtree(work)


def _checksum(file: Path) -> str:
    return f"{zlib.crc32(file.read_bytes()):08x}"
