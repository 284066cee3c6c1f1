"""Every distinct layer of a network by itself, forward and backward."""

from collections import Counter
from typing import Any

from experiments.bench.case import Case, LayerShape, batch_size_of, parse_arch
from experiments.bench.config import BenchConfig
from experiments.bench.table import Row
from experiments.bench.timing import interleaved_rows
from experiments.program.console import Console
from jax_resnet.models import create_model
from jax_resnet.models.summary import summary

__all__ = ["count_layers", "time_layers"]


def count_layers(arch: str, options: dict[str, Any], image_size: int) -> dict[LayerShape, int]:
    """The distinct convolutions and normalizations of a network, with the number of each."""
    found: Counter[LayerShape] = Counter()
    for layer in summary(create_model(arch, **options), (image_size, image_size, 3)).layers:
        if layer.kind not in ("conv", "batch norm"):
            continue
        shape = LayerShape(
            size=layer.input[0],
            inputs=layer.input[-1],
            outputs=layer.output[-1],
            kernel=layer.kernel_size,
            strides=layer.strides,
            groups=layer.groups,
        )
        found[shape] += 1
    return dict(found)


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
