"""How the cost of a training step grows: one sweep for each number that a user chooses."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from experiments.bench.case import Case, LayerShape
from experiments.bench.config import SWEEPS, BenchConfig
from experiments.bench.table import Row
from experiments.bench.timing import Timing, interleaved, simultaneous
from experiments.program.console import Console

__all__ = ["Sweep", "growth_row", "sweeps", "time_growth"]

BATCHES = (1, 4, 16, 64, 256, 1024)
DEEP = (
    "resnet20",
    "resnet32",
    "resnet56",
    "resnet110",
    "preact_resnet164",
    "preact_resnet1001",
    "resnet1202",
)
# Written out, these take many minutes to compile.
TOO_DEEP_TO_WRITE_OUT = ("preact_resnet1001", "resnet1202")
WIDTHS = (1, 2, 4, 8)
# All networks are 128 channels wide: only the number of groups of their 3x3 convolutions changes.
CARDINALITIES = (1, 2, 4, 8, 16, 32, 64)
GROUPS = (*CARDINALITIES, 128)
IMAGE_SIZES = (32, 64, 112, 224)
PROCESSES = (1, 2)
STAGES = ("stage1", "stage2", "stage3")
FORMS: dict[str, dict[str, Any]] = {
    "written out": {},
    "in loops": {"scan_layers": True},
    "in loops, recomputed": {"scan_layers": True, "remat": STAGES},
}


class Sweep(NamedTuple):
    """Cases that differ in one number.

    Attributes:
        network: What is trained, as a heading says it.
        cases: The cases by what they differ in.
        processes: How many of a case run at once, each with its part of the cores and of the batch.
    """

    network: str
    cases: Mapping[str, Case]
    processes: Mapping[str, int] = {}


def sweeps(dtype: Any = "f32", conv: str = "auto") -> dict[str, Sweep]:
    """Every sweep by its name in ``SWEEPS``."""

    def case(arch: str, images: int, size: int = 32, **options: Any) -> Case:
        return Case("jax_resnet", arch, images, dtype, conv=conv, options=options, image_size=size)

    def layer(groups: int) -> Case:
        shape = LayerShape(size=16, inputs=128, outputs=128, kernel=3, groups=groups)
        return Case("jax_resnet", batch_size=64, dtype=dtype, conv=conv, layer=shape)

    depth = {
        f"{arch}, {form}": case(arch, 16, **options)
        for arch in DEEP
        for form, options in FORMS.items()
        if options or arch not in TOO_DEEP_TO_WRITE_OUT
    }
    whole = case("resnet20", 128)
    found = {
        "batch": Sweep("resnet20", {f"{n:,}": case("resnet20", n) for n in BATCHES}),
        "depth": Sweep("batches of 16", depth),
        "width": Sweep("wrn_16_N, batches of 32", {str(n): case(f"wrn_16_{n}", 32) for n in WIDTHS}),
        "cardinality": Sweep(
            "resnext29, 128 channels wide, batches of 32",
            {str(n): case(f"resnext29_{n}x{128 // n}d", 32, variant="pytorch_cifar") for n in CARDINALITIES},
        ),
        "groups": Sweep(
            "one 3x3 convolution of 128 channels at 16x16, batches of 64, with all its gradients",
            {str(n): layer(n) for n in GROUPS},
        ),
        "image-size": Sweep(
            "resnet20, batches of 16", {f"{n}x{n}": case("resnet20", 16, n) for n in IMAGE_SIZES}
        ),
        "processes": Sweep(
            "resnet20, 128 images in all",
            {str(n): dataclasses.replace(whole, batch_size=128 // n) for n in PROCESSES},
            {str(n): n for n in PROCESSES},
        ),
    }
    assert tuple(found) == SWEEPS
    return found


def time_growth(config: BenchConfig, console: Console) -> list[Row]:
    """Times training steps while one number varies and all others stay the same."""
    rows: list[Row] = []
    for dtype in config.dtype:
        for name, sweep in sweeps(dtype, config.conv[0]).items():
            if name in config.sweep:
                rows += time_sweep(name, sweep, config, console.line)
    return rows


def time_sweep(name: str, sweep: Sweep, config: BenchConfig, report: Callable[[str], None]) -> list[Row]:
    """One row per case, in order."""
    rows: list[Row] = []
    for value, case in sweep.cases.items():
        count = sweep.processes.get(value)
        if count is None:
            (timing,) = interleaved([case], rounds=config.rounds, round_seconds=config.round_seconds)
        else:
            timing = simultaneous([case] * count, rounds=config.rounds)
        rows.append(growth_row(name, value, timing, count or 1, rows))
        report(f"{name} {value}, {case.dtype}: {rows[-1]['step (ms)']:.3g} ms")
    return rows


def growth_row(sweep: str, value: str, timing: Timing, processes: int, before: Sequence[Row]) -> Row:
    """The row of a case.

    Args:
        sweep: Name of the sweep.
        value: What the case differs in.
        timing: Its times.
        processes: How many processes took a step together.
        before: The rows of the sweep's earlier cases.
    """
    gflops = timing.gflops * processes
    first = before[0]["GFLOP/s"] if before else gflops
    return {
        "sweep": sweep,
        sweep: value,
        "dtype": timing.case.dtype,
        "step (ms)": 1e3 * timing.median,
        "spread (%)": 100 * timing.spread,
        "images/s": timing.images_per_second * processes,
        "GFLOP/s": gflops,
        "cost of a multiply-add": first / gflops,
        "to the first step's end (s)": timing.start_seconds,
        "peak memory (MiB)": timing.peak_bytes / 2**20 or None,
    }
