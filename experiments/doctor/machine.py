"""The machine: system, memory, and the disks that programs write to."""

import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from experiments.doctor.config import DoctorConfig
from experiments.doctor.finding import Finding, note, ok, problem
from experiments.runs.reading import UnreadableError, read_bytes

__all__ = ["data_folder", "disk", "free_gib", "nearest_folder", "platform_and_memory"]

GIB = 2**30
LEAST_MEMORY_GIB = 1.0
LEAST_DISK_GIB = 1.0
TRIED_BYTES = 64 * 1024
# Variables that change what the programs do; others are nobody's business.
VARIABLES = (
    "JAX_",
    "XLA_",
    "JAX_RESNET_",
    "TFDS_",
    "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "NPROC",
)


def platform_and_memory(config: DoctorConfig) -> Iterator[Finding]:
    """System, processor, memory, and the variables that change what programs do."""
    yield ok("platform", f"{platform.platform()}, {processor()}, {os.cpu_count()} cores")
    free, total = memory_gib()
    if total:
        text = f"{free:.1f} of {total:.1f} GiB free"
        if free < LEAST_MEMORY_GIB:
            yield problem(
                "memory", text, "end other programs: a training needs 1 GiB and more", free_gib=free
            )
        else:
            yield ok("memory", text, free_gib=free, total_gib=total)
    found = {name: value for name, value in sorted(os.environ.items()) if name.startswith(VARIABLES)}
    if found:
        yield ok("environment", " ".join(f"{name}={value}" for name, value in found.items()))


def processor() -> str:
    """The processor's name, as far as the system knows it."""
    try:
        text = read_bytes(Path("/proc/cpuinfo"), 2**24).decode(errors="replace")
    except (UnreadableError, OSError):
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


def memory_gib() -> tuple[float, float]:
    """Free and total memory that this process may use, in GiB; zeros where the system does not say."""
    try:
        lines = read_bytes(Path("/proc/meminfo"), 2**20).decode().splitlines()
        sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if len(line.split()) > 1}
        free, total = sizes["MemAvailable"], sizes["MemTotal"]
    except (UnreadableError, OSError, ValueError, LookupError):
        return 0.0, 0.0
    limit = control_group("memory.max")
    if limit is not None and limit < total:  # a container's
        free, total = min(free, limit - used_by_control_group()), limit
    return free / GIB, total / GIB


def used_by_control_group() -> int:
    """Bytes that the processes of this control group need: without cached files, which give way."""
    try:
        lines = read_bytes(Path("/sys/fs/cgroup/memory.stat"), 2**16).decode().splitlines()
        cached = next((int(line.split()[1]) for line in lines if line.startswith("inactive_file ")), 0)
    except (UnreadableError, OSError, ValueError, LookupError):
        cached = 0
    return max(0, (control_group("memory.current") or 0) - cached)


def control_group(name: str) -> int | None:
    """A number of this process's control group, in bytes; None where there is none."""
    try:
        return int(read_bytes(Path("/sys/fs/cgroup") / name, 2**12))
    except (UnreadableError, OSError, ValueError):
        return None


def disk(config: DoctorConfig) -> Iterator[Finding]:
    """Room and permission in every folder that the programs write to."""
    places: dict[str, Callable[[], Path]] = {
        "runs": lambda: Path("runs"),
        "data": lambda: data_folder(config),
        "cache": cache_folder,
        "temporary": lambda: Path(tempfile.gettempdir()),
    }
    if compiled := os.environ.get("JAX_COMPILATION_CACHE_DIR", ""):
        places["compiled"] = lambda: Path(compiled)
    for name, find in places.items():
        try:
            yield room(name, find())
        except (ImportError, RuntimeError):  # without a jax that works, which the check of devices names
            continue
        except Exception as error:  # one folder must not lose the others
            text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            yield problem("disk", f"{name}: {text}", advice_on(name))


def data_folder(config: DoctorConfig) -> Path:
    """Where data sets are kept."""
    from jax_resnet.data.loader import data_folder as folder_of

    return folder_of(config.data_dir or None)


def cache_folder() -> Path:
    """Where the compiled extension is kept."""
    from jax_resnet.layers.onednn.cache import cache_folder as folder_of_extensions

    return folder_of_extensions()


def room(name: str, folder: Path) -> Finding:
    """The room in a folder, or in the one where it would be made, and whether it can be written."""
    existing = nearest_folder(folder)
    where = f"{name} {folder}" + ("" if existing == folder else " (not there yet)")
    if why := why_not_writable(existing):
        if name == "data" and existing == folder:
            return note(
                "disk", f"{where}: {why}", "what is prepared there is used; for more, name another --data-dir"
            )
        return problem("disk", f"{where}: {why}", advice_on(name))
    free = free_gib(existing)
    text = f"{where}: {free:.1f} GiB free"
    if free < LEAST_DISK_GIB:
        return problem("disk", text, f"free some space, or {advice_on(name)}", free_gib=free)
    return ok("disk", text, free_gib=free)


def advice_on(name: str) -> str:
    """How to choose another folder."""
    return {
        "runs": "name another by --workdir",
        "data": "name another by --data-dir or TFDS_DATA_DIR",
        "cache": "name another by JAX_RESNET_CACHE",
        "compiled": "name another by JAX_COMPILATION_CACHE_DIR",
    }.get(name, "name another by TMPDIR")


def nearest_folder(path: Path) -> Path:
    """The folder itself, or the nearest above it that exists."""
    path = path.absolute() if not path.exists() else path
    while not path.is_dir() and path != path.parent:
        path = path.parent
    return path


def free_gib(folder: Path) -> float:
    """Free space of a folder's file system for this user, in GiB."""
    return shutil.disk_usage(folder).free / GIB


def why_not_writable(folder: Path) -> str:
    """Why a file cannot be written, tried with a temporary one; empty if it can."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".jax-resnet-doctor-") as file:
            file.write(b"\0" * TRIED_BYTES)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return f"cannot be written: {(error.strerror or str(error)).lower()}"
    return ""
