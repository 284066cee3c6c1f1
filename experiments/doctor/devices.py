"""The devices that JAX sees, their memory, and whether they compute."""

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from typing import Any

from experiments.doctor.config import DoctorConfig
from experiments.doctor.finding import Finding, note, ok, problem
from experiments.runs.environment import cores_text
from jax_resnet._text import first_line

__all__ = ["devices"]

GIB = 2**30
CUDA_ADVICE = (
    "pip install -U 'jax[cuda13]' (needs an NVIDIA driver of version 580 or later), see Install in README.md"
)


def devices(config: DoctorConfig) -> Iterator[Finding]:
    """What JAX computes on."""
    cards = nvidia_cards()
    if cards:
        yield ok("driver", "; ".join(f"{count} x {card}" for card, count in Counter(cards).items()))
    import jax
    import jax.numpy as jnp

    platforms = os.environ.get("JAX_PLATFORMS", "")
    try:
        found = jax.devices()
    except RuntimeError as error:
        advice = (
            f"JAX_PLATFORMS is {platforms!r}: unset it" if platforms else "reinstall jax for this machine"
        )
        yield problem("devices", f"JAX finds no device: {first_line(error)}", advice)
        return
    kinds = Counter((device.platform, device.device_kind) for device in found)
    text = "; ".join(f"{count} x {describe(*kind)}" for kind, count in kinds.items())
    limit, peak = memory_gib(found[0])
    text += f"; memory {limit:.1f} GiB for JAX each, {peak:.2f} used at most so far" if limit else ""
    yield ok("devices", text, count=len(found), platform=found[0].platform, kind=found[0].device_kind)
    if cards and found[0].platform == "cpu":
        if platforms and not {"cuda", "gpu"} & set(platforms.split(",")):
            yield note(
                "devices",
                f"an NVIDIA GPU is here and not used: JAX_PLATFORMS is {platforms!r}",
                "unset it to use the GPU",
            )
        else:
            yield problem("devices", "an NVIDIA GPU is here, and JAX runs on the CPU", CUDA_ADVICE)
    for device in found:
        with jax.default_device(device):
            total = float(jnp.arange(1000.0).sum())
        if total != 499_500:
            yield problem(
                "devices",
                f"{device} adds 0 to 999 to {total}",
                "the device or its driver is broken: try another",
            )


def describe(platform: str, kind: str) -> str:
    """A kind of device; of CPUs, the cores that this process may use."""
    if platform == "cpu":
        return f"cpu, {cores_text()}"
    return f"{kind} ({platform})"


def memory_gib(device: Any) -> tuple[float, float]:
    """The memory of a device that JAX may use, and its peak so far, in GiB; zeros where JAX does not say."""
    try:
        stats = device.memory_stats() or {}
    except Exception:  # some backends have none, and say so in many ways
        return 0.0, 0.0
    return stats.get("bytes_limit", 0) / GIB, stats.get("peak_bytes_in_use", 0) / GIB


def nvidia_cards() -> list[str]:
    """Name, driver and memory of the NVIDIA GPUs, from the driver's own tool; none where there is none."""
    if not (tool := shutil.which("nvidia-smi")):
        return []
    query = [tool, "--query-gpu=name,driver_version,memory.total,memory.used", "--format=csv,noheader"]
    try:
        found = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [[part.strip() for part in line.split(",")] for line in found.stdout.splitlines()]
    return [f"{row[0]}, driver {row[1]}, memory {row[2]}, {row[3]} used" for row in rows if len(row) == 4]
