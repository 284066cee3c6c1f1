"""Training steps of whole networks, and of their layers one by one."""

from collections.abc import Sequence
from typing import Any

from experiments.bench.case import Case, batch_size_of, parse_arch
from experiments.bench.config import BenchConfig
from experiments.bench.layers import count_layers
from experiments.bench.table import Row
from experiments.bench.timing import Timing, interleaved, interleaved_rows
from experiments.program.console import Console

__all__ = ["network_rows", "time_layers", "time_networks"]


def network_cases(config: BenchConfig, arch: str, batch_size: int, options: dict[str, Any]) -> list[Case]:
    """Every implementation and computation type of one network that the flags ask for."""
    common: dict[str, Any] = {"arch": arch, "batch_size": batch_size, "options": options}
    common["image_size"] = config.image_size
    cases = [
        Case("jax_resnet", dtype=dtype, conv=conv, **common) for conv in config.conv for dtype in config.dtype
    ]
    if config.against == "flax":
        cases += [Case("flax", dtype=dtype, **common) for dtype in config.dtype]
    if config.against == "torch":
        for dtype in config.dtype:
            layouts: Sequence[Any] = ("NCHW", "NHWC") if dtype == "f32" else ("NHWC",)
            cases += [Case("torch", dtype=dtype, layout=layout, **common) for layout in layouts]
    return cases


def time_networks(config: BenchConfig, console: Console) -> list[Row]:
    """Times whole training steps, beside matrix products of the same computation types."""
    rows: list[Row] = []
    for text in config.arch:
        arch, options = parse_arch(text)
        cases = network_cases(config, arch, batch_size_of(arch, config.batch_size), options)
        console.line(f"{arch}: {', '.join(f'{case.name} {case.dtype}' for case in cases)}")
        timings = interleaved(
            [*cases, *(Case("matmul", dtype=dtype) for dtype in config.dtype)],
            rounds=config.rounds,
            round_seconds=config.round_seconds,
            progress=console.line,
        )
        rows += network_rows(arch, timings)
    return rows


def network_rows(arch: str, timings: Sequence[Timing]) -> list[Row]:
    """One row per timing, with its ratio to the other framework's best float32 step."""
    products = {t.case.dtype: t for t in timings if t.case.framework == "matmul"}
    rivals = [t for t in timings if t.case.framework in ("torch", "flax") and t.case.dtype == "f32"]
    best = max((rival.images_per_second for rival in rivals), default=None)
    return [
        {
            "network": arch,
            "batch": timing.case.batch_size or None,
            "dtype": timing.case.dtype,
            "by": timing.case.name,
            "step (ms)": 1e3 * timing.median,
            "spread (%)": 100 * timing.spread,
            "images/s": timing.images_per_second or None,
            "to best f32 rival": timing.images_per_second / best if best and timing.parameters else None,
            "GFLOP/s": timing.gflops,
            "of matrix product (%)": 100 * timing.gflops / products[timing.case.dtype].gflops,
            "start (s)": timing.start_seconds,
            "peak memory (MiB)": timing.peak_bytes / 2**20,
            "parameters": timing.parameters or None,
        }
        for timing in timings
    ]


def time_layers(config: BenchConfig, console: Console) -> list[Row]:
    """Times each distinct layer of the networks, forward and backward."""
    rows: list[Row] = []
    for text in config.arch:
        arch, options = parse_arch(text)
        batch_size = batch_size_of(arch, config.batch_size)
        counts = count_layers(arch, options, config.image_size)
        console.line(f"{arch}: {len(counts)} distinct layers")
        table = [
            [
                Case("jax_resnet", conv=conv, batch_size=batch_size, dtype=dtype, layer=layer)
                for conv in config.conv
                for dtype in config.dtype
            ]
            + [
                Case(config.against, layout="NHWC", batch_size=batch_size, dtype=dtype, layer=layer)
                for dtype in config.dtype
                if config.against != "none"
            ]
            for layer in counts
        ]
        timings = interleaved_rows(table, rounds=config.rounds, round_seconds=config.round_seconds / 5)
        new: list[Row] = []
        for (layer, count), row in zip(counts.items(), timings, strict=True):
            new.append({"network": arch, "layer": str(layer), "times": count})
            new[-1] |= {f"{t.case.name} {t.case.dtype} (ms)": 1e3 * t.median for t in row}
            if layer.kernel:
                new[-1]["GFLOP/s, first"] = row[0].gflops
        total: Row = {"network": arch, "layer": "all", "times": sum(counts.values())}
        for name in (key for key in new[0] if key.endswith("(ms)")):
            total[name] = sum(r["times"] * r[name] for r in new)
        rows += [*new, total]
    return rows
