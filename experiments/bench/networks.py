"""Training steps of whole networks."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

from experiments.bench.case import Case, batch_size_of, parse_arch
from experiments.bench.config import BenchConfig
from experiments.bench.table import Row
from experiments.bench.timing import Timing, interleaved
from experiments.program.console import Console
from experiments.program.errors import ExperimentError

__all__ = ["best_rival", "leave_out", "network_cases", "network_rows", "time_networks"]


def network_cases(config: BenchConfig, network: Case) -> list[Case]:
    """Every implementation and computation type of a network that the flags ask for.

    Args:
        config: The flags.
        network: A case whose network, options, images and task all cases share.
    """
    programs: tuple[Literal["experiments", "user"], ...] = ("experiments", "user")
    cases = [
        dataclasses.replace(network, dtype=dtype, conv=conv, program=program)
        for conv in config.conv
        for dtype in config.dtype
        for program in (programs if config.user else programs[:1])
    ]
    if network.task == "evaluate":
        cases += [dataclasses.replace(case, folded=True) for case in cases]
    if config.against == "flax":
        cases += [dataclasses.replace(network, framework="flax", dtype=dtype) for dtype in config.dtype]
    if config.against == "torch":
        cases += torch_cases(config, dataclasses.replace(network, framework="torch"))
    return cases


def torch_cases(config: BenchConfig, network: Case) -> list[Case]:
    """PyTorch's float32 in both layouts, and its bfloat16 in the faster one; that one compiled too."""
    cases = []
    if "f32" in config.dtype:
        cases += [dataclasses.replace(network, layout="NCHW"), dataclasses.replace(network, layout="NHWC")]
    if "bf16" in config.dtype:
        cases.append(dataclasses.replace(network, dtype="bf16", layout="NHWC"))
        if network.task == "evaluate":  # where casting the weights is usual too
            cases.append(dataclasses.replace(network, dtype="bf16", layout="NHWC", bf16="weights"))
    if config.torch_compile:
        cases += [dataclasses.replace(case, compiled=True) for case in cases if case.layout == "NHWC"]
    return cases


def time_networks(config: BenchConfig, console: Console) -> list[Row]:
    """Times whole training steps, beside matrix products of the same computation types."""
    rows: list[Row] = []
    for text in config.arch:
        arch, options = parse_arch(text)
        batch_size = batch_size_of(arch, config.batch_size)
        network = Case(
            "jax_resnet",
            arch,
            batch_size,
            options=options,
            image_size=config.image_size,
            steps_per_wait=config.steps_per_wait,
        )
        cases = network_cases(config, network)
        console.line(f"{arch}: {', '.join(f'{case.name} {case.dtype}' for case in cases)}")
        timings = interleaved(
            [*cases, *(Case("matmul", dtype=dtype) for dtype in config.dtype)],
            rounds=config.rounds,
            round_seconds=config.round_seconds,
            progress=console.line,
            on_failure=lambda case, error: leave_out(case, error, console),
        )
        rows += network_rows(arch, timings)
    return rows


def leave_out(case: Case, error: ExperimentError, console: Console) -> None:
    """Leaves out what ``torch.compile`` cannot compile here: it needs a compiler of its own.

    Raises:
        ExperimentError: Another case failed.
    """
    if not case.compiled:
        raise error
    console.line(f"{case.arch} {case.name} {case.dtype} is left out: {error}")


def best_rival(timings: Sequence[Timing]) -> float | None:
    """Images per second of the other framework's fastest float32 case; None without another framework."""
    rivals = [t for t in timings if t.case.framework in ("torch", "flax") and t.case.dtype == "f32"]
    return max((rival.images_per_second for rival in rivals), default=None)


def network_rows(arch: str, timings: Sequence[Timing]) -> list[Row]:
    """One row per timing, with its ratio to the other framework's best float32 step."""
    products = {t.case.dtype: t for t in timings if t.case.framework == "matmul"}
    best = best_rival(timings)
    return [
        {
            "network": arch,
            "batch": timing.case.batch_size or None,
            "dtype": timing.case.dtype,
            "by": timing.case.name,
            "program": timing.case.program if timing.case.framework == "jax_resnet" else None,
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
