"""A model of what data-parallel training costs on many devices.

It counts the bytes that a step adds up over the devices; ``--check`` compares the count with the collectives
in the program that XLA compiles for the devices of this machine (on CPU: forced ones). The times are computed
from the given speeds. They are not measurements.
"""

import dataclasses
import math
from typing import Any, Literal, NamedTuple

from experiments.program.errors import ConfigError
from experiments.runs.markdown import markdown_table
from experiments.settings.fields import setting
from jax_resnet._text import first_line

__all__ = [
    "Estimate",
    "ScalingConfig",
    "ScalingRow",
    "Traffic",
    "all_reduce_seconds",
    "estimate",
    "format_estimate",
    "make_network",
    "scaling_rows",
    "traffic",
]


@dataclasses.dataclass(frozen=True)
class ScalingConfig:
    """A network, and the machine that is assumed for it."""

    arch: str = setting("resnet50", "network", common=True, metavar="NAME")
    stem: Literal["cifar", "imagenet"] = setting("imagenet", "layers before the first block", common=True)
    num_classes: int = setting(1000, "number of classes", at_least=1)
    image_size: int = setting(224, "height and width of the images in pixels", at_least=1, at_most=2**15)
    per_device_batch: int = setting(64, "images per step and device", common=True, at_least=1)
    step_ms: float = setting(
        100.0, "milliseconds per step on one device, as measured by experiments.bench", common=True, above=0
    )
    link_gb: float = setting(150.0, "GB/s from one device to another of the same host, one way", above=0)
    network_gb: float = setting(12.5, "GB/s from one host to another, one way", above=0)
    latency_us: float = setting(10.0, "microseconds per hop of a collective", at_least=0)
    devices_per_host: int = setting(8, "devices per host", at_least=1)
    overlap: float = setting(
        0.0, "fraction of the gradients' communication that the backward pass hides", at_least=0, at_most=1
    )
    devices: tuple[int, ...] = setting(
        (1, 2, 4, 8, 16, 32, 64, 128, 256), "numbers of devices to print a row for", at_least=1
    )
    check: bool = setting(False, "compile the step for this machine's devices and compare the bytes")
    json: bool = setting(False, "print JSON")


class Traffic(NamedTuple):
    """What a step of synchronous data parallelism adds up over all devices, in bytes of float32.

    Attributes:
        gradients: One number per parameter.
        statistics: Three sums per channel of every BatchNorm in the forward pass: of one row, about whose
            mean it then sums values and squares. Those of the backward pass are the gradients of its scale
            and bias, and are counted there.
        collectives: All-reduces that wait for each other: three per BatchNorm, and the gradients'.
    """

    gradients: int
    statistics: int
    collectives: int


class ScalingRow(NamedTuple):
    """What a step costs on a number of devices; times in milliseconds."""

    devices: int
    batch: int
    gradients_ms: float
    statistics_ms: float
    step_ms: float
    images_per_second: float
    efficiency: float


def traffic(variables: Any) -> Traffic:
    """Counts the bytes for a network's variables, or for their shapes."""
    import jax

    parameters = sum(x.size for x in jax.tree.leaves(variables["params"]))
    statistics = jax.tree.leaves(variables.get("batch_stats", {}))  # mean and variance of each BatchNorm
    channels = sum(x.size for x in statistics) // 2
    return Traffic(4 * parameters, 4 * 3 * channels, 3 * len(statistics) // 2 + 1)


def all_reduce_seconds(size: float, devices: int, config: ScalingConfig, collectives: int = 1) -> float:
    """Within each host, then between hosts: ``2 (n - 1) / n * size / bandwidth + 2 log2(n) * latency``.

    Rabenseifner's reduce-scatter and all-gather (Thakur, Rabenseifner and Gropp 2005, section 4.5).

    Args:
        size: Bytes per device.
        devices: Number of devices.
        config: Speeds and latency.
        collectives: Number of all-reduces that the bytes are divided into.
    """
    local = min(devices, config.devices_per_host)
    hosts = -(-devices // local)
    seconds = 0.0
    for count, bandwidth in ((local, config.link_gb), (hosts, config.network_gb)):
        if count > 1:
            seconds += 2 * (count - 1) / count * size / (bandwidth * 1e9)
            seconds += collectives * 2 * math.log2(count) * config.latency_us * 1e-6
    return seconds


def scaling_rows(config: ScalingConfig, moved: Traffic) -> list[ScalingRow]:
    """One row for each number of devices."""
    rows = []
    for devices in config.devices:
        gradients = all_reduce_seconds(moved.gradients, devices, config)
        statistics = all_reduce_seconds(moved.statistics, devices, config, moved.collectives - 1)
        step = config.step_ms / 1000 + (1 - config.overlap) * gradients + statistics
        batch = devices * config.per_device_batch
        rows.append(
            ScalingRow(
                devices=devices,
                batch=batch,
                gradients_ms=1000 * gradients,
                statistics_ms=1000 * statistics,
                step_ms=1000 * step,
                images_per_second=batch / step,
                efficiency=config.step_ms / 1000 / step,
            )
        )
    return rows


@dataclasses.dataclass(frozen=True)
class Estimate:
    """The traffic of a step and its cost on each number of devices.

    Attributes:
        traffic: Bytes and collectives that are counted.
        rows: Cost for each number of devices.
        compiled_for: With ``--check``, the number of devices that the step was compiled for.
        compiled_bytes: With ``--check``, the bytes that the compiled step adds up over them.
    """

    traffic: Traffic
    rows: list[ScalingRow]
    compiled_for: int | None = None
    compiled_bytes: int | None = None

    def as_json(self) -> dict[str, Any]:
        """The same as plain values, without what was not checked."""
        found = {"compiled_for": self.compiled_for, "compiled_bytes": self.compiled_bytes}
        return {
            "traffic": self.traffic._asdict(),
            "rows": [row._asdict() for row in self.rows],
            **{name: value for name, value in found.items() if value is not None},
        }


def estimate(config: ScalingConfig) -> Estimate:
    """Counts the traffic of a step and computes its cost; with ``--check`` compiles it too.

    Raises:
        ConfigError: The network does not exist or does not take the images.
    """
    import jax
    import jax.numpy as jnp

    model = make_network(config)
    images = jax.ShapeDtypeStruct((1, config.image_size, config.image_size, 3), jnp.float32)
    try:
        variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)
    except ValueError as error:
        raise ConfigError(f"--image-size {config.image_size}: {first_line(error)}") from None
    moved = traffic(variables)
    rows = scaling_rows(config, moved)
    if not config.check:
        return Estimate(moved, rows)
    from experiments.bench.collective_bytes import compile_step, compiled_bytes

    program = compile_step(model, config.image_size, config.per_device_batch)
    return Estimate(moved, rows, jax.device_count(), compiled_bytes(program))


def format_estimate(config: ScalingConfig, result: Estimate) -> str:
    """Formats an estimate as text with a Markdown table."""
    moved = result.traffic
    lines = [
        f"{config.arch}: {moved.gradients / 1e6:.1f} MB of gradients and {moved.statistics / 1e6:.2f} MB of "
        f"BatchNorm's sums per step, in {moved.collectives} collectives"
    ]
    if result.compiled_bytes is not None:
        lines.append(
            f"XLA's program for {result.compiled_for} devices adds up {result.compiled_bytes:,} bytes, "
            f"the count is {moved.gradients + moved.statistics:,}"
        )
    header = ["devices", "batch", "gradients ms", "BatchNorm ms", "step ms", "images/s", "efficiency"]
    cells = [
        [
            str(row.devices),
            f"{row.batch:,}",
            f"{row.gradients_ms:.2f}",
            f"{row.statistics_ms:.2f}",
            f"{row.step_ms:.1f}",
            f"{row.images_per_second:,.0f}",
            f"{row.efficiency:.1%}",
        ]
        for row in result.rows
    ]
    return "\n".join([*lines, "", markdown_table(header, cells, [True] * len(header))])


def make_network(config: ScalingConfig) -> Any:
    """Builds the network.

    Raises:
        ConfigError: There is no such network.
    """
    from jax_resnet.models import create_model

    try:
        return create_model(config.arch, num_classes=config.num_classes, stem=config.stem)
    except ValueError as error:
        raise ConfigError(f"--arch {config.arch}: {error}") from None
