"""What a result depends on besides its settings: versions, commit, device, command."""

import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

import jax_resnet
from jax_resnet import layers
from jax_resnet._malloc import malloc_state

__all__ = [
    "command",
    "commit",
    "cores_text",
    "cpu_name",
    "device",
    "hardware",
    "provenance",
    "usable_cores",
    "versions",
]


def versions() -> dict[str, str]:
    """Versions of the packages that the numbers depend on."""
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
    found = {name: importlib.metadata.version(name) for name in packages}
    return {"jax-resnet": jax_resnet.__version__, "python": platform.python_version(), **found}


def usable_cores() -> int:
    """Number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cores_text() -> str:
    """``usable_cores`` in words: "1 core", "2 cores"."""
    cores = usable_cores()
    return "1 core" if cores == 1 else f"{cores} cores"


def cpu_name() -> str | None:
    """The processor's model, such as "AMD EPYC 9B14"; None where the system does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return platform.processor() or None
    names = [line.partition(":")[2] for line in lines if line.startswith("model name")]
    return " ".join(names[0].split()) or None if names else None


def device() -> str:
    """Kind and number of the devices; for a CPU, its model and the cores that this process may use."""
    devices = jax.devices()
    processes = f" each of {jax.process_count()} processes" if jax.process_count() > 1 else ""
    if devices[0].platform == "cpu":
        count = "" if len(devices) == 1 else f"{len(devices)} x "
        return f"{count}{cpu_name() or 'cpu'}, {cores_text()}{processes}"
    return f"{len(devices)} x {devices[0].device_kind}{processes}"


def hardware() -> dict[str, Any]:
    """The devices and the machine as separate values; ``device`` says the same in a few words."""
    first = jax.devices()[0]
    return {
        "platform": first.platform,
        "device_kind": first.device_kind,
        "devices": jax.device_count(),
        "processes": jax.process_count(),
        "cpu": cpu_name(),
        "cores": usable_cores(),
    }


def command() -> str:
    """The command line of this process, as a shell takes it."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)  # None for a script or python -c
    program = ["-m", spec.name.removesuffix(".__main__")] if spec else sys.argv[:1]
    return shlex.join(["python", *program, *sys.argv[1:]])


def commit() -> str | None:
    """The commit of this checkout, with ``-dirty`` after changes; None where there is no checkout."""
    root = Path(jax_resnet.__file__).parents[1]
    try:
        return subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def provenance() -> dict[str, Any]:
    """What repeats a run, and what makes it fast: command, versions, commit, device, convolution, malloc."""
    return {
        "command": command(),
        "flags": sys.argv[1:],
        "versions": versions(),
        "commit": commit(),
        "device": device(),
        "hardware": hardware(),
        "convolution": str(layers.info()),
        "memory": malloc_state(),
    }
