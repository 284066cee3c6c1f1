"""What a result depends on besides its settings: versions, commit, device."""

import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

import jax_resnet
from experiments.program.malloc import malloc_state
from jax_resnet import layers

__all__ = ["commit", "device", "provenance", "usable_cores", "versions"]


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


def device() -> str:
    """Kind and number of the devices; for a CPU, the cores that this process may use."""
    devices = jax.devices()
    processes = f" each of {jax.process_count()} processes" if jax.process_count() > 1 else ""
    if devices[0].platform == "cpu":
        count = "" if len(devices) == 1 else f"{len(devices)} x "
        return f"{count}cpu, {usable_cores()} cores{processes}"
    return f"{len(devices)} x {devices[0].device_kind}{processes}"


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
    """What repeats a run, and what makes it fast: flags, versions, commit, device, convolution, malloc."""
    return {
        "flags": sys.argv[1:],
        "versions": versions(),
        "commit": commit(),
        "device": device(),
        "convolution": str(layers.info()),
        "memory": malloc_state(),
    }
