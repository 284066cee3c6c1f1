"""How the cost of a training step grows, and what depth costs to compile."""

import dataclasses
from collections.abc import Iterable
from typing import Any

from experiments.bench.case import Case
from experiments.bench.config import BenchConfig
from experiments.bench.table import Row
from experiments.bench.timing import Timing, interleaved, one_after_another, simultaneous
from experiments.program.console import Console

__all__ = ["growth_rows", "time_depth", "time_growth"]

BATCHES = (1, 4, 16, 64, 256, 1024)
DEPTHS = (20, 32, 56, 110)
WIDTHS = (1, 2, 4, 8)
# All are 128 channels wide: only the number of groups of the 3x3 convolutions changes.
CARDINALITIES = (1, 2, 4, 8, 16, 32, 64)
IMAGE_SIZES = (32, 64, 112, 224)
PROCESSES = (1, 2)
COMPILED = ("resnet20", "resnet56", "resnet110", "resnet1202", "preact_resnet164", "preact_resnet1001")
# Written out, these take many minutes to compile.
TOO_DEEP_TO_WRITE_OUT = ("resnet1202", "preact_resnet1001")
STAGES = ("stage1", "stage2", "stage3")


def time_growth(config: BenchConfig, console: Console) -> list[Row]:
    """Times training steps while one number varies and all others stay the same."""
    batch_size = config.batch_size or 64
    rows: list[Row] = []
    for dtype in config.dtype:

        def case(
            arch: str, images: int = batch_size, dtype: Any = dtype, size: int = 32, **options: Any
        ) -> Case:
            return Case(
                "jax_resnet", arch, images, dtype, conv=config.conv[0], options=options, image_size=size
            )

        sweeps: dict[str, dict[int, Case]] = {
            "batch, resnet20": {n: case("resnet20", n) for n in BATCHES},
            "depth, resnet": {n: case(f"resnet{n}") for n in DEPTHS},
            "width, wrn_16": {n: case(f"wrn_16_{n}", 32) for n in WIDTHS},
            "cardinality, resnext29, 128 wide": {
                n: case(f"resnext29_{n}x{128 // n}d", 32, variant="pytorch_cifar") for n in CARDINALITIES
            },
            "image size, resnet20": {n: case("resnet20", 16, size=n) for n in IMAGE_SIZES},
        }
        for varied, cases in sweeps.items():
            console.line(f"{dtype}: {varied}: {', '.join(map(str, cases))}")
            timings = one_after_another(
                list(cases.values()), rounds=config.rounds, round_seconds=config.round_seconds
            )
            rows += growth_rows(varied, dtype, zip(cases, timings, strict=True))
        console.line(f"{dtype}: processes: {', '.join(map(str, PROCESSES))}")
        alone = case("resnet20", 128)
        timed = {
            n: simultaneous([dataclasses.replace(alone, batch_size=128 // n)] * n, rounds=config.rounds)
            for n in PROCESSES
        }
        rows += growth_rows("processes at once, resnet20, 128 images in all", dtype, timed.items(), 128)
    return rows


def growth_rows(varied: str, dtype: str, timings: Iterable[tuple[int, Timing]], images: int = 0) -> list[Row]:
    """One row per value, with its step time divided by that of the first value.

    Args:
        varied: What varies.
        dtype: Computation type.
        timings: Pairs of value and timing.
        images: Images per step; 0 for the batch size of each case.
    """
    rows: list[Row] = []
    for value, timing in timings:
        row: Row = {
            "varied": varied,
            "dtype": dtype,
            "value": value,
            "step (ms)": 1e3 * timing.median,
            "spread (%)": 100 * timing.spread,
            "images/s": (images or timing.case.batch_size) / timing.median,
            "GFLOP/s": timing.gflops * (images or timing.case.batch_size) / timing.case.batch_size,
            "to the first step's end (s)": timing.start_seconds,
            "peak memory (MiB)": timing.peak_bytes / 2**20,
        }
        row["step to first"] = row["step (ms)"] / (rows[0]["step (ms)"] if rows else row["step (ms)"])
        rows.append(row)
    return rows


def time_depth(config: BenchConfig, console: Console) -> list[Row]:
    """Measures compile time and memory against depth, with blocks written out and in loops."""
    batch_size = config.batch_size or 16
    forms: dict[str, dict[str, Any]] = {
        "written out": {},
        "in loops": {"scan_layers": True},
        "in loops, recomputed": {"scan_layers": True, "remat": STAGES},
    }
    rows = []
    for arch in COMPILED:
        for form, options in forms.items():
            if not options and arch in TOO_DEEP_TO_WRITE_OUT:
                continue
            case = Case("jax_resnet", arch, batch_size, conv=config.conv[0], options=options)
            (timing,) = interleaved([case], rounds=2, round_seconds=config.round_seconds)
            rows.append(
                {
                    "network": arch,
                    "batch": batch_size,
                    "blocks": form,
                    "to the first step's end (s)": timing.start_seconds,
                    "step (ms)": 1e3 * timing.median,
                    "peak memory (MiB)": timing.peak_bytes / 2**20,
                }
            )
            console.line(f"{arch} {form}: {timing.start_seconds:.1f} s")
    return rows
