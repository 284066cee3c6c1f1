"""The machine: system, memory, disk."""

import platform
from collections.abc import Iterator

from experiments.doctor.config import DoctorConfig
from experiments.doctor.finding import Finding, ok

__all__ = ["disk", "platform_and_memory"]


def platform_and_memory(config: DoctorConfig) -> Iterator[Finding]:
    yield ok("platform", platform.platform())


def disk(config: DoctorConfig) -> Iterator[Finding]:
    yield ok("disk", "-")
