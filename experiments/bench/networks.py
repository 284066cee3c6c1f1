"""Training steps of whole networks, and of their layers one by one."""

from collections.abc import Sequence
from typing import Any

from experiments.bench.case import BATCH_SIZES, Subject, parse_arch
from experiments.bench.config import BenchConfig
from experiments.bench.layers import layers_of
from experiments.bench.timing import Result, race, race_in_one_process_each
from experiments.program.console import Console

Row = dict[str, Any]


def subjects_of(config: BenchConfig, arch: str, batch_size: int, options: dict[str, Any]) -> list[Subject]:
    """Everything to be timed of one network."""
    common: dict[str, Any] = {"arch": arch, "batch_size": batch_size, "options": options}
    common["image_size"] = config.image_size
    subjects = [
        Subject("jax_resnet", dtype=dtype, conv=conv, **common)
        for conv in config.conv
        for dtype in config.dtype
    ]
    if config.against == "flax":
        subjects += [Subject("flax", dtype=dtype, **common) for dtype in config.dtype]
    if config.against == "torch":
        for dtype in config.dtype:
            layouts: Sequence[Any] = ("NCHW", "NHWC") if dtype == "f32" else ("NHWC",)
            subjects += [Subject("torch", dtype=dtype, layout=layout, **common) for layout in layouts]
    return subjects


def networks(config: BenchConfig, console: Console) -> list[Row]:
    """Whole training steps, and their ratio to the best float32 step of the other framework."""
    rows: list[Row] = []
    for text in config.arch:
        arch, options = parse_arch(text)
        batch_size = config.batch_size or BATCH_SIZES.get(arch, 64)
        subjects = subjects_of(config, arch, batch_size, options)
        console.line(f"{arch}: {', '.join(f'{s.name} {s.dtype}' for s in subjects)}")
        results = race(
            [*subjects, *(Subject("matmul", dtype=dtype) for dtype in config.dtype)],
            rounds=config.rounds,
            turn_seconds=config.turn_seconds,
            tell=console.line,
        )
        rows += network_rows(arch, results)
    return rows


def network_rows(arch: str, results: list[Result]) -> list[Row]:
    """The results of one network, and after them those of the matrix products."""
    products = {r.subject.dtype: r for r in results if r.subject.framework == "matmul"}
    rivals = [r for r in results if r.subject.framework in ("torch", "flax") and r.subject.dtype == "f32"]
    best = max((rival.images_per_second for rival in rivals), default=None)
    return [
        {
            "network": arch,
            "batch": result.subject.batch_size or None,
            "dtype": result.subject.dtype,
            "by": result.subject.name,
            "step (ms)": 1e3 * result.median,
            "spread (%)": 100 * result.spread,
            "images/s": result.images_per_second or None,
            "to best f32 rival": result.images_per_second / best if best and result.parameters else None,
            "GFLOP/s": result.gflops,
            "of matrix product (%)": 100 * result.gflops / products[result.subject.dtype].gflops,
            "start (s)": result.start_seconds,
            "peak memory (MiB)": result.peak_bytes / 2**20,
            "parameters": result.parameters or None,
        }
        for result in results
    ]


def layers(config: BenchConfig, console: Console) -> list[Row]:
    """Every kind of layer of a network, forward and backward."""
    rows: list[Row] = []
    for text in config.arch:
        arch, options = parse_arch(text)
        batch_size = config.batch_size or BATCH_SIZES.get(arch, 64)
        counted = layers_of(arch, options, config.image_size)
        console.line(f"{arch}: {len(counted)} kinds of layers")
        table = [
            [
                Subject("jax_resnet", conv=conv, batch_size=batch_size, dtype=dtype, layer=layer)
                for conv in config.conv
                for dtype in config.dtype
            ]
            + [
                Subject(config.against, layout="NHWC", batch_size=batch_size, dtype=dtype, layer=layer)
                for dtype in config.dtype
                if config.against != "none"
            ]
            for layer in counted
        ]
        results = race_in_one_process_each(table, rounds=config.rounds, turn_seconds=config.turn_seconds / 5)
        for (layer, count), row in zip(counted.items(), results, strict=True):
            rows.append({"network": arch, "layer": str(layer), "times": count})
            for result in row:
                name = f"{result.subject.name} {result.subject.dtype} (ms)"
                rows[-1][name] = 1e3 * result.median
            if layer.kernel:
                rows[-1]["GFLOP/s, first"] = row[0].gflops
        total: Row = {"network": arch, "layer": "all", "times": sum(counted.values())}
        for name in [key for key in rows[-1] if key.endswith("(ms)")]:
            total[name] = sum(r["times"] * r[name] for r in rows if r["network"] == arch)
        rows.append(total)
    return rows
