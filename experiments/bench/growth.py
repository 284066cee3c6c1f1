"""How cost grows: with the batch, depth, cardinality and processes; and what depth costs to compile."""

import dataclasses
from collections.abc import Iterable
from typing import Any

from experiments.bench.case import Subject
from experiments.bench.config import BenchConfig
from experiments.bench.timing import Result, race, race_together
from experiments.program.console import Console

Row = dict[str, Any]
BATCHES = (16, 32, 64, 128, 256)
DEPTHS = (20, 32, 56, 110)
# All 128 channels wide: what changes is only into how many groups the 3x3 convolutions fall.
CARDINALITIES = (1, 2, 4, 8, 16, 32)
PROCESSES = (1, 2)
COMPILED = ("resnet20", "resnet56", "resnet110", "resnet1202", "preact_resnet164", "preact_resnet1001")
# Written out, these take many minutes to compile.
TOO_DEEP_TO_WRITE_OUT = ("resnet1202", "preact_resnet1001")
STAGES = ("stage1", "stage2", "stage3")


def scaling(config: BenchConfig, console: Console) -> list[Row]:
    """Step times as one number varies and all else stays."""
    batch_size = config.batch_size or 64
    rows: list[Row] = []
    for dtype in config.dtype:

        def subject(arch: str, batch_size: int = batch_size, dtype: Any = dtype, **options: Any) -> Subject:
            return Subject("jax_resnet", arch, batch_size, dtype, config.conv[0], options=options)

        sweeps: dict[str, dict[int, Subject]] = {
            "batch, resnet20": {n: subject("resnet20", n) for n in BATCHES},
            "depth, resnet": {n: subject(f"resnet{n}") for n in DEPTHS},
            "cardinality, resnext29, 128 wide": {
                n: subject(f"resnext29_{n}x{128 // n}d", 32, variant="pytorch_cifar") for n in CARDINALITIES
            },
        }
        for what, subjects in sweeps.items():
            console.line(f"{dtype}: {what}: {', '.join(map(str, subjects))}")
            results = race(
                list(subjects.values()), rounds=config.rounds, turn_seconds=config.turn_seconds, at_once=False
            )
            rows += growth_rows(what, dtype, zip(subjects, results, strict=True))
        console.line(f"{dtype}: processes: {', '.join(map(str, PROCESSES))}")
        alone = subject("resnet20", 128)
        together = {
            n: race_together([dataclasses.replace(alone, batch_size=128 // n)] * n, rounds=config.rounds)
            for n in PROCESSES
        }
        rows += growth_rows("processes at once, resnet20, 128 images in all", dtype, together.items(), 128)
    return rows


def growth_rows(what: str, dtype: str, results: Iterable[tuple[int, Result]], images: int = 0) -> list[Row]:
    """A row a value, with its cost beside the first's."""
    rows: list[Row] = []
    for value, result in results:
        count = images or result.subject.batch_size
        row: Row = {
            "varied": what,
            "dtype": dtype,
            "value": value,
            "step (ms)": 1e3 * result.median,
            "spread (%)": 100 * result.spread,
            "images/s": count / result.median,
            "peak memory (MiB)": result.peak_bytes / 2**20,
        }
        row["step to first"] = row["step (ms)"] / (rows[0]["step (ms)"] if rows else row["step (ms)"])
        rows.append(row)
    return rows


def depth(config: BenchConfig, console: Console) -> list[Row]:
    """Compile time and memory against depth, written out and rolled into loops."""
    batch_size = config.batch_size or 16
    rows = []
    for arch in COMPILED:
        forms: dict[str, dict[str, Any]] = {
            "written out": {},
            "in loops": {"scan_layers": True},
            "in loops, recomputed": {"scan_layers": True, "remat": STAGES},
        }
        for form, options in forms.items():
            if not options and arch in TOO_DEEP_TO_WRITE_OUT:
                continue
            subject = Subject("jax_resnet", arch, batch_size, "f32", config.conv[0], options=options)
            (result,) = race([subject], rounds=2, turn_seconds=config.turn_seconds)
            rows.append(
                {
                    "network": subject.arch,
                    "batch": batch_size,
                    "blocks": form,
                    "to the first step's end (s)": result.start_seconds,
                    "step (ms)": 1e3 * result.median,
                    "peak memory (MiB)": result.peak_bytes / 2**20,
                }
            )
            console.line(f"{arch} {form}: {result.start_seconds:.1f} s")
    return rows
