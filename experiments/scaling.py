"""What training costs on many devices: python -m experiments.scaling --arch resnet50 --stem imagenet.

A model on paper. Its count of bytes is held against the collectives in the program that XLA compiles for
eight devices (on CPU: forced ones); its times are arithmetic on what is passed in, not measurements.
"""

import dataclasses
import json
import math
import re
import sys
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from experiments.program.start import start


@dataclasses.dataclass(frozen=True)
class ScalingConfig:
    """A network, and the machine it is imagined on."""

    arch: str = "resnet50"
    """The network."""
    stem: Literal["cifar", "imagenet"] = "imagenet"
    """Its first layers."""
    num_classes: int = 1000
    """Its outputs."""
    image_size: int = 224
    """Pixels of a side."""
    per_device_batch: int = 64
    """Images a step and device."""
    step_ms: float = 100.0
    """Time of a step on one device, measured by you: with experiments.bench, say."""
    link_gb: float = 150.0
    """GB/s at which a device sends to another of its host, one way."""
    network_gb: float = 12.5
    """GB/s at which a host sends to another, one way."""
    latency_us: float = 10.0
    """Microseconds that each hop of a collective takes."""
    devices_per_host: int = 8
    """Devices that share the faster links."""
    overlap: float = 0.0
    """Share of the gradients' communication that is hidden behind the backward pass."""
    devices: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256)
    """How many to reckon with."""
    check: bool = False
    """Compile the step for the devices there are, and compare its collectives with the count."""
    json: bool = False
    """Print JSON."""


class Traffic(NamedTuple):
    """What a step of synchronous data parallelism adds up over all devices, in bytes of float32.

    Attributes:
        gradients: A number a parameter.
        statistics: Three sums a channel of every BatchNorm in the forward pass: of a row, about whose mean
            it then sums values and squares. Those of the backward pass are the gradients of its scale and
            bias, and counted there.
        collectives: All-reduces that wait for each other: three a BatchNorm, and the gradients'.
    """

    gradients: int
    statistics: int
    collectives: int


def traffic(variables: Any) -> Traffic:
    """Counts for a network's variables, or their shapes."""
    import jax

    parameters = sum(x.size for x in jax.tree.leaves(variables["params"]))
    norms = jax.tree.leaves(variables.get("batch_stats", {}))  # mean and variance of each
    channels = sum(x.size for x in norms) // 2
    return Traffic(4 * parameters, 4 * 3 * channels, 3 * len(norms) // 2 + 1)


def all_reduce_seconds(size: float, devices: int, config: ScalingConfig, collectives: int = 1) -> float:
    """Within each host, then between hosts: ``2 (n - 1) / n * size / bandwidth + 2 log2(n) * latency``.

    Rabenseifner's reduce-scatter and all-gather (Thakur, Rabenseifner and Gropp 2005, section 4.5).
    """
    local = min(devices, config.devices_per_host)
    hosts = -(-devices // local)
    seconds = 0.0
    for count, bandwidth in ((local, config.link_gb), (hosts, config.network_gb)):
        if count > 1:
            seconds += 2 * (count - 1) / count * size / (bandwidth * 1e9)
            seconds += collectives * 2 * math.log2(count) * config.latency_us * 1e-6
    return seconds


def table(config: ScalingConfig, moved: Traffic) -> list[dict[str, Any]]:
    """A row for each number of devices."""
    rows = []
    for devices in config.devices:
        gradients = all_reduce_seconds(moved.gradients, devices, config)
        statistics = all_reduce_seconds(moved.statistics, devices, config, moved.collectives - 1)
        step = config.step_ms / 1000 + (1 - config.overlap) * gradients + statistics
        rows.append(
            {
                "devices": devices,
                "batch": devices * config.per_device_batch,
                "gradients_ms": 1000 * gradients,
                "statistics_ms": 1000 * statistics,
                "step_ms": 1000 * step,
                "images_per_second": devices * config.per_device_batch / step,
                "efficiency": config.step_ms / 1000 / step,
            }
        )
    return rows


def compiled_bytes(program: str) -> int:
    """Bytes of the results of all all-reduces in a compiled program's text."""
    total = 0
    for line in program.splitlines():
        if found := re.search(r"= (.*?) all-reduce(-start)?\(", line):
            for kind, shape in re.findall(r"([a-z]+\d+)\[([\d,]*)\]", found[1]):
                size = 1
                for axis in filter(None, shape.split(",")):
                    size *= int(axis)
                total += size * int(re.sub(r"\D", "", kind)) // 8
    return total


def compile_step(config: ScalingConfig) -> str:
    """The text of the training step that XLA compiles for the devices there are, by jit over a mesh."""
    import jax
    import jax.numpy as jnp
    from jax.sharding import NamedSharding
    from jax.sharding import PartitionSpec as P

    from jax_resnet import optim
    from jax_resnet.data.augment import make_augment
    from jax_resnet.parallel import DATA, data_mesh
    from jax_resnet.parallel.mesh import shardings_of
    from jax_resnet.train import create_state, make_train_step

    model, shape = make_model(config), (config.image_size, config.image_size, 3)
    mesh, tx = data_mesh(), optim.sgd(0.1)
    state = jax.eval_shape(lambda: create_state(model, tx, jax.random.key(0), shape))
    state = jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
        state,
        shardings_of(state, mesh, shard=False),
    )
    size, rows = mesh.size * config.per_device_batch, NamedSharding(mesh, P(DATA))
    batch = {
        "image": jax.ShapeDtypeStruct((size, *shape), jnp.uint8, sharding=rows),
        "label": jax.ShapeDtypeStruct((size,), jnp.int32, sharding=rows),
        "index": jax.ShapeDtypeStruct((size,), jnp.int32, sharding=rows),
    }
    step = make_train_step(model, tx, make_augment((0.5,) * 3, (0.25,) * 3))
    return jax.jit(step).lower(state, batch).compile().as_text() or ""


def make_model(config: ScalingConfig) -> Any:
    """The network.

    Raises:
        ConfigError: There is no such network.
    """
    from experiments.program.errors import ConfigError
    from jax_resnet.models import create_model

    try:
        return create_model(config.arch, num_classes=config.num_classes, stem=config.stem)
    except ValueError as error:
        raise ConfigError(f"--arch {config.arch}: {error}") from None


def main(args: Sequence[str] | None = None) -> None:
    """Parses the flags and prints the table."""
    import jax
    import jax.numpy as jnp
    from rich.console import Console
    from rich.table import Table

    from experiments.settings.flags import parse_flags

    about = "Reckons step time and efficiency of data-parallel training on many devices, from stated speeds."
    told = sys.argv[1:] if args is None else args
    config = parse_flags(ScalingConfig, "python -m experiments.scaling", about, told, ScalingConfig())
    images = jnp.zeros((1, config.image_size, config.image_size, 3))
    variables = jax.eval_shape(lambda: make_model(config).init(jax.random.key(0), images, train=False))
    moved = traffic(variables)
    result: dict[str, Any] = {"traffic": moved._asdict(), "rows": table(config, moved)}
    if config.check:
        result["compiled_for"] = jax.device_count()
        result["compiled_bytes"] = compiled_bytes(compile_step(config))
    if config.json:
        print(json.dumps(result))
        return
    console = Console(soft_wrap=True, highlight=False)
    console.print(
        f"{config.arch}: {moved.gradients / 1e6:.1f} MB of gradients and {moved.statistics / 1e6:.2f} MB of "
        f"BatchNorm's sums a step, in {moved.collectives} collectives"
    )
    if config.check:
        counted = moved.gradients + moved.statistics
        console.print(
            f"XLA's program for {result['compiled_for']} devices adds up {result['compiled_bytes']:,} bytes, "
            f"the count is {counted:,}"
        )
    rich = Table("devices", "batch", "gradients ms", "statistics ms", "step ms", "images/s", "efficiency")
    for row in result["rows"]:
        rich.add_row(
            str(row["devices"]),
            f"{row['batch']:,}",
            f"{row['gradients_ms']:.2f}",
            f"{row['statistics_ms']:.2f}",
            f"{row['step_ms']:.1f}",
            f"{row['images_per_second']:,.0f}",
            f"{row['efficiency']:.1%}",
        )
    console.print(rich)


if __name__ == "__main__":
    start(main)
