"""Compiles the extension on first use and keeps it for later processes."""

import hashlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import jax
import jaxlib

CACHE_VARIABLE = "JAX_RESNET_CACHE"
_HERE = Path(__file__).parent
_SOURCES = (_HERE / "conv.cc", _HERE / "norm.cc")
_READ_BY_BUILD = (*_SOURCES, _HERE / "runtime.h", _HERE / "selftest.py", _HERE / "problem.py")
_LIBRARY_WHEEL, _HEADER_WHEEL = "onednn-cpu-gomp", "onednn-devel-cpu-gomp"
# For this very processor: the cache's key has its instruction sets, and the self-test runs them.
_FLAGS = ("-O3", "-march=native", "-fopenmp", "-std=c++17", "-shared", "-fPIC", "-w", "-DNDEBUG")
_COMPILE_SECONDS, _TEST_SECONDS = 300, 60


class UnavailableError(Exception):
    """The extension cannot be used here; the message is one line that says why."""


class Wheels(NamedTuple):
    """Where the wheels of oneDNN put their files.

    Attributes:
        library: The shared library.
        include: Folder of the headers.
        version: Of the wheels.
    """

    library: Path
    include: Path
    version: str


def find_wheels() -> Wheels:
    """Returns the installed wheels of oneDNN.

    Raises:
        UnavailableError: They are not installed.
    """
    found = []
    for wheel, ending in ((_LIBRARY_WHEEL, "/libdnnl.so.3"), (_HEADER_WHEEL, "/oneapi/dnnl/dnnl.hpp")):
        try:
            files = importlib.metadata.files(wheel) or []
        except importlib.metadata.PackageNotFoundError:
            raise UnavailableError(f'{wheel} is not installed (pip install "jax-resnet[cpu]")') from None
        paths = [Path(str(file.locate())).resolve() for file in files if str(file).endswith(ending)]
        if not paths or not paths[0].exists():
            raise UnavailableError(f"{wheel} has no {ending[1:]}")
        found.append(paths[0])
    library, header = found
    return Wheels(library, header.parents[2], importlib.metadata.version(_LIBRARY_WHEEL))


def find_compiler() -> str:
    """Returns the path of a C++ compiler: ``$CXX`` or the first of the usual names.

    Raises:
        UnavailableError: There is none.
    """
    for name in (os.environ.get("CXX", ""), "g++", "c++", "clang++"):
        if name and (path := shutil.which(name)):
            return path
    raise UnavailableError("no C++ compiler (g++, c++, clang++ or $CXX) was found")


def cache_folder() -> Path:
    """Returns where compiled extensions are kept: ``$JAX_RESNET_CACHE`` or the user's cache."""
    if folder := os.environ.get(CACHE_VARIABLE):
        return Path(folder) / "onednn"
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "jax-resnet" / "onednn"


def _processor() -> str:
    """Returns the model and the instruction sets of the processor, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(sorted({line for line in lines if line.startswith(("flags", "model name"))}))


def cache_key(wheels: Wheels, compiler: str) -> str:
    """Returns a digest of everything that the compiled extension depends on."""
    real = Path(compiler).resolve()
    stat = real.stat()
    parts = (
        *(path.read_text() for path in _READ_BY_BUILD),
        jaxlib.__version__,
        wheels.version,
        f"{real} {stat.st_size} {stat.st_mtime_ns}",
        " ".join(_FLAGS),
        _processor(),
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def build() -> tuple[Path, Wheels]:
    """Returns the compiled and tested extension, from the cache where it is there, and its wheels.

    A build goes to a folder of its own and moves to its final name in one step, after its self-test,
    so that two processes at once or one that is killed leave only good files behind.

    Raises:
        UnavailableError: Something that it takes is missing or fails.
    """
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "AMD64"):
        raise UnavailableError(
            f"oneDNN has wheels for x86-64 Linux only, not {platform.machine()} {sys.platform}"
        )
    wheels = find_wheels()
    compiler = find_compiler()
    try:
        folder = cache_folder()
        built = folder / f"{cache_key(wheels, compiler)}.so"
        if not built.exists():
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as work:
                fresh = Path(work) / "extension.so"
                _compile(compiler, wheels, fresh)
                _test(wheels, fresh)
                os.replace(fresh, built)
    except (OSError, RuntimeError) as error:
        raise UnavailableError(_one_line(error)) from error
    return built, wheels


def _compile(compiler: str, wheels: Wheels, target: Path) -> None:
    includes = [f"-I{wheels.include}", f"-I{jax.ffi.include_dir()}"]
    # Named by path: the library is loaded before the extension, which then need not find it.
    sources = map(str, _SOURCES)
    command = [compiler, *_FLAGS, *includes, *sources, str(wheels.library), "-o", str(target)]
    _run(command, "compilation", _COMPILE_SECONDS)


def _test(wheels: Wheels, extension: Path) -> None:
    command = [sys.executable, str(_HERE / "selftest.py"), str(wheels.library), str(extension)]
    _run(command, "self-test", _TEST_SECONDS)


def _run(command: list[str], what: str, seconds: int) -> None:
    # The self-test imports its neighbor, which this setting of Python forbids.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=seconds, env=environment)
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"its {what} took more than {seconds} s") from None
    if result.returncode != 0:
        said = [line for line in (result.stdout + result.stderr).splitlines() if line.strip()]
        errors = [line for line in said if "error" in line.lower()] or said
        raise UnavailableError(f"its {what} failed: {_one_line(errors[0] if errors else result.returncode)}")


def _one_line(what: object) -> str:
    return " ".join(str(what).split())[:200]
