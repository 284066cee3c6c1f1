"""Evaluation of whole networks: images per second of a batch, and the latency of one image."""

from collections.abc import Sequence

from experiments.bench.case import Case, batch_size_of, parse_arch
from experiments.bench.config import BenchConfig
from experiments.bench.networks import best_rival, leave_out, network_cases
from experiments.bench.table import Row
from experiments.bench.timing import Timing, interleaved
from experiments.program.console import Console

__all__ = ["inference_rows", "time_inference"]


def time_inference(config: BenchConfig, console: Console) -> list[Row]:
    """Times the logits of a batch and of one image in evaluation mode, PyTorch's in ``inference_mode``."""
    rows: list[Row] = []
    for text in config.arch:
        arch, options = parse_arch(text)
        for batch_size in dict.fromkeys((batch_size_of(arch, config.batch_size), 1)):
            network = Case(
                "jax_resnet",
                arch,
                batch_size,
                task="evaluate",
                options=options,
                image_size=config.image_size,
            )
            cases = network_cases(config, network)
            names = ", ".join(f"{case.name} {case.dtype}" for case in cases)
            console.line(f"{arch}, batch {batch_size}: {names}")
            timings = interleaved(
                cases,
                rounds=config.rounds,
                round_seconds=config.round_seconds,
                progress=console.line,
                on_failure=lambda case, error: leave_out(case, error, console),
            )
            rows += inference_rows(arch, timings)
    return rows


def inference_rows(arch: str, timings: Sequence[Timing]) -> list[Row]:
    """One row per timing, with its ratio to the other framework's best float32."""
    best = best_rival(timings)
    return [
        {
            "network": arch,
            "batch": timing.case.batch_size,
            "dtype": timing.case.dtype,
            "by": timing.case.name,
            "program": timing.case.program if timing.case.framework == "jax_resnet" else None,
            "latency (ms)": 1e3 * timing.median,
            "spread (%)": 100 * timing.spread,
            "images/s": timing.images_per_second,
            "to best f32 rival": timing.images_per_second / best if best else None,
            "GFLOP/s": timing.gflops,
            "start (s)": timing.start_seconds,
            "peak memory (MiB)": timing.peak_bytes / 2**20,
        }
        for timing in timings
    ]
