"""Compiles the extension on first use and keeps it for later processes."""

import hashlib
import importlib.metadata
import logging
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jaxlib

from jax_resnet._text import first_line
from jax_resnet.errors import JaxResnetError
from jax_resnet.layers.onednn import cache

__all__ = [
    "HERE",
    "OneDnn",
    "Recipe",
    "UnavailableError",
    "build",
    "cache_key",
    "check_extension",
    "check_platform",
    "compile_extension",
    "find_compiler",
    "find_installed",
    "find_onednn",
    "find_wheels",
    "processor",
]

HERE = Path(__file__).parent
_COMPILE_SECONDS, _TEST_SECONDS = 300, 60
_log = logging.getLogger("jax_resnet")


class UnavailableError(JaxResnetError):
    """The extension cannot be used here; the message says why in one line."""


class Recipe(NamedTuple):
    """How the extension is compiled.

    Attributes:
        sources: The C++ files.
        flags: Flags of the compiler. ``-march=native`` compiles for this very processor: the cache's key
            contains its instruction sets, and the self-test runs them.
    """

    sources: tuple[Path, ...] = (HERE / "conv.cc", HERE / "norm.cc")
    flags: tuple[str, ...] = (
        "-O3",
        "-march=native",
        "-fopenmp",
        "-std=c++17",
        "-shared",
        "-fPIC",
        "-w",
        "-DNDEBUG",
        f"-I{HERE}",
    )

    def read_by_build(self) -> tuple[Path, ...]:
        """Returns every file of this package on whose content the extension or its test depends."""
        headers = ("runtime.h", "vectors.h", "norm_kernels.h", "weights.h", "winograd.h")
        others = (*headers, "selftest.py", "problem.py")
        return (*self.sources, *(HERE / name for name in others))


class OneDnn(NamedTuple):
    """An installed oneDNN.

    Attributes:
        library: The shared library.
        include: Folder of the headers.
        version: Its version, for a wheel that of the wheel.
    """

    library: Path
    include: Path
    version: str


def check_platform(system: str = sys.platform, machine: str | None = None) -> None:
    """Checks that the wheels of oneDNN exist for an operating system and a processor, by default this one.

    Raises:
        UnavailableError: They do not.
    """
    machine = machine or platform.machine()
    if system != "linux" or machine not in ("x86_64", "AMD64"):
        raise UnavailableError(f"oneDNN has wheels for x86-64 Linux only, not {machine} {system}")


def find_wheels(library: str = "onednn-cpu-gomp", headers: str = "onednn-devel-cpu-gomp") -> OneDnn:
    """Returns the installed wheels of oneDNN, found by their names.

    Raises:
        UnavailableError: They are not installed, or lack a file.
    """
    found = []
    for wheel, ending in ((library, "/libdnnl.so.3"), (headers, "/oneapi/dnnl/dnnl.hpp")):
        try:
            files = importlib.metadata.files(wheel) or []
        except importlib.metadata.PackageNotFoundError:
            raise UnavailableError(f"{wheel} is not installed (pip install -e '.[cpu]')") from None
        paths = [Path(str(file.locate())).resolve() for file in files if str(file).endswith(ending)]
        if not paths or not paths[0].exists():
            raise UnavailableError(f"{wheel} has no {ending[1:]}")
        found.append(paths[0])
    shared, header = found
    return OneDnn(shared, header.parents[2], importlib.metadata.version(library))


def find_installed(prefixes: Sequence[Path]) -> OneDnn:
    """Returns a oneDNN of version 3 that another package manager has installed, as conda or Debian do.

    Args:
        prefixes: Folders with ``include`` and ``lib`` in them; the first with both parts is taken.

    Raises:
        UnavailableError: There is none, or only of another version.
    """
    other = ""
    for prefix in prefixes:
        try:
            header = (prefix / "include/oneapi/dnnl/dnnl_version.h").read_text()
        except (OSError, UnicodeDecodeError):
            continue
        numbers = dict(re.findall(r"#define DNNL_VERSION_(MAJOR|MINOR|PATCH) (\d+)", header))
        version = ".".join(numbers.get(part, "?") for part in ("MAJOR", "MINOR", "PATCH"))
        libraries = [
            path
            for folder in (f"lib/{platform.machine()}-linux-gnu", "lib64", "lib")
            if (path := prefix / folder / "libdnnl.so.3").exists()
        ]
        if numbers.get("MAJOR") == "3" and libraries:
            return OneDnn(libraries[0].resolve(), prefix / "include", version)
        other = f"; the oneDNN {version} in {prefix} is none of version 3"
    raise UnavailableError(f"no oneDNN is installed here{other}")


def find_onednn() -> OneDnn:
    """Returns the oneDNN of the extra ``cpu``, else another that is installed.

    Raises:
        UnavailableError: There is none.
    """
    try:
        return find_wheels()
    except UnavailableError as error:
        prefixes = [sys.prefix, os.environ.get("CONDA_PREFIX", ""), "/usr/local", "/usr"]
        try:
            return find_installed([Path(prefix) for prefix in dict.fromkeys(prefixes) if prefix])
        except UnavailableError as other:
            version = str(other).partition("; ")[2]
            raise UnavailableError(f"{error}{'; ' + version if version else ''}") from None


def find_compiler() -> str:
    """Returns the path of a C++ compiler: ``$CXX``, or the first of the usual names.

    Raises:
        UnavailableError: There is none.
    """
    for name in (os.environ.get("CXX", ""), "g++", "c++", "clang++"):
        if name and (path := shutil.which(name)):
            return path
    raise UnavailableError("no C++ compiler (g++, c++, clang++ or $CXX) was found")


def processor() -> str:
    """Returns the model and the instruction sets of the processor, as far as the system knows them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(sorted({line for line in lines if line.startswith(("flags", "model name"))}))


def cache_key(
    recipe: Recipe,
    onednn: OneDnn,
    compiler: str,
    *,
    processor: str,
    jaxlib_version: str = jaxlib.__version__,
) -> str:
    """Returns a digest of everything that the compiled extension depends on."""
    real = Path(compiler).resolve()
    stat = real.stat()
    parts = (
        *(path.read_text(encoding="utf-8") for path in recipe.read_by_build()),
        jaxlib_version,
        onednn.version,
        f"{real} {stat.st_size} {stat.st_mtime_ns}",
        " ".join(recipe.flags).replace(str(HERE), ""),  # another checkout has the same extension
        processor,
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def build(recipe: Recipe | None = None) -> tuple[Path, OneDnn]:
    """Returns the compiled and tested extension, from the cache where it is intact there, and its oneDNN.

    A build happens in a folder of its own. After the self-test its file moves to its final name in one
    step, so that several processes at once, or one that is killed, leave only good files behind.

    Raises:
        UnavailableError: Something that this needs is missing or fails.
    """
    check_platform()
    recipe, onednn, compiler = recipe or Recipe(), find_onednn(), find_compiler()
    try:
        folder = cache.cache_folder()
        key = cache_key(recipe, onednn, compiler, processor=processor())
        built = cache.find(folder, key)
        if built is None:
            start = time.monotonic()
            with cache.work_folder(folder) as work:
                fresh = work / "extension.so"
                compile_extension(recipe, compiler, onednn, fresh)
                check_extension(onednn, fresh)
                built = cache.keep(fresh, folder, key)
            seconds = time.monotonic() - start
            _log.warning("compiled the fast convolutions in %.0f s, kept in %s", seconds, folder)
    except (OSError, RuntimeError) as error:
        raise UnavailableError(first_line(error)) from error
    return built, onednn


def compile_extension(recipe: Recipe, compiler: str, onednn: OneDnn, target: Path) -> None:
    """Compiles the extension to the file ``target``.

    Raises:
        UnavailableError: The compiler fails.
    """
    includes = [f"-I{onednn.include}", f"-I{jax.ffi.include_dir()}"]
    # oneDNN is named by its path: it is loaded before the extension, which then need not find it.
    sources = [str(path) for path in recipe.sources]
    command = [compiler, *recipe.flags, *includes, *sources, str(onednn.library), "-o", str(target)]
    _run(command, "compilation", _COMPILE_SECONDS)


def check_extension(onednn: OneDnn, extension: Path) -> None:
    """Runs the self-test in a process of its own.

    Raises:
        UnavailableError: It fails or crashes.
    """
    command = [sys.executable, str(HERE / "selftest.py"), str(onednn.library), str(extension)]
    _run(command, "self-test", _TEST_SECONDS)


def _run(command: list[str], what: str, seconds: int) -> None:
    # The self-test imports the module beside it, which this setting of Python forbids.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=seconds, env=environment)
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"its {what} took more than {seconds} s") from None
    if result.returncode != 0:
        lines = [line for line in (result.stdout + result.stderr).splitlines() if line.strip()]
        errors = [line for line in lines if "error" in line.lower()] or lines
        cause = " ".join(errors[0].split())[:200] if errors else f"exit status {result.returncode}"
        raise UnavailableError(f"its {what} failed: {cause}")
