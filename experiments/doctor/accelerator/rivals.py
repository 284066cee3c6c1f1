"""Training steps beside PyTorch's, where PyTorch is installed: eager and compiled, in the same rounds.

This process starts one process per case and uses no device itself.
"""

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from experiments.bench.case import Case
from experiments.bench.timing import Timing, interleaved
from experiments.doctor.config import DoctorConfig
from experiments.doctor.finding import Finding, note, ok, problem

__all__ = ["beside_pytorch"]

PART_OF_SECONDS = 0.3
ROUNDS, ROUND_SECONDS = 3, 1.0
# The most telling first, if time runs out.
CASES = (("resnet18", "bf16"), ("resnet20", "bf16"), ("resnet18", "f32"), ("resnet20", "f32"))
CPU_CASES = (("resnet8", "bf16"), ("resnet8", "f32"))
# Prints PyTorch's device.
DEVICE = """
import torch
if torch.cuda.is_available(): print("cuda", torch.cuda.get_device_name(), torch.__version__)
else: print("cpu", torch.__version__)
"""


def beside_pytorch(config: DoctorConfig) -> Iterator[Finding]:
    """Times networks in bfloat16, then in float32, while there is time."""
    if importlib.util.find_spec("torch") is None:
        yield note("pytorch", "not compared: PyTorch is not installed", "pip install torch")
        return
    theirs, ours = platform_of(DEVICE), platform_of("import jax; print(jax.default_backend())")
    if (theirs.split(" ")[0] == "cpu") != (ours == "cpu"):
        yield note(
            "pytorch", f"not compared: PyTorch runs on {theirs}, JAX on {ours}", "install both for the GPU"
        )
        return
    yield ok(
        "pytorch", f"PyTorch on {theirs}, JAX on {ours}; float32 convolutions in TF32 where the device has it"
    )
    small = ours == "cpu"
    start = time.perf_counter()
    for arch, dtype in CPU_CASES if small else CASES:
        if time.perf_counter() - start > PART_OF_SECONDS * config.seconds:
            yield note("pytorch", f"no time left for {arch} {dtype} and what follows", "--seconds gives more")
            return
        yield from compare(arch, dtype, small=small)


def compare(arch: str, dtype: str, *, small: bool) -> Iterator[Finding]:
    """Times one network in one type; on a CPU in small and without ``torch.compile``, which takes minutes."""
    network = Case(
        "jax_resnet",
        arch,
        8 if small else 128,
        dtype="bf16" if dtype == "bf16" else "f32",
        steps_per_wait=1 if small else 10,
    )
    fields = {**vars(network), "framework": "torch", "layout": "NHWC"}
    cases = [network, Case(**fields)]
    if not small:
        cases.append(Case(**{**fields, "compiled": True}))
    failed: list[Finding] = []
    timings = interleaved(
        cases,
        rounds=1 if small else ROUNDS,
        round_seconds=0.1 if small else ROUND_SECONDS,
        on_failure=lambda case, error: failed.append(
            note(
                "pytorch",
                f"{case.arch} {case.name} {case.dtype} failed: {error}",
                "torch.compile needs a C compiler" if case.compiled else "",
            )
        ),
    )
    best = max((t.images_per_second for t in timings if t.case.framework == "torch"), default=0.0)
    for timing in timings:
        yield result(timing, best)
    yield from failed
    if not any(timing.case.framework == "jax_resnet" for timing in timings):
        yield problem(
            "pytorch", f"{arch} {dtype}: our step was not timed", "report this with the whole output"
        )


def result(timing: Timing, best: float) -> Finding:
    """One case's speed; ours also as a multiple of PyTorch's best."""
    case = timing.case
    text = f"{case.arch} {case.dtype} batch {case.batch_size}, {case.name}: "
    text += f"{timing.images_per_second:,.0f} images/s, ±{timing.spread:.0%}"
    values: dict[str, Any] = {
        "case": f"{case.arch} {case.dtype} {case.name}",
        "images_per_second": timing.images_per_second,
    }
    if case.framework == "jax_resnet" and best:
        values["to_best_rival"] = timing.images_per_second / best
        text += f", {values['to_best_rival']:.2f} times PyTorch's best"
    return ok("pytorch", f"{text} (first step {timing.start_seconds:.1f} s)", **values)


def platform_of(code: str) -> str:
    """What a short program prints, run in a process of its own."""
    environment = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", **os.environ}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )
    return (done.stdout.strip().splitlines() or [f"nothing: {done.stderr.strip()[-200:]}"])[-1]
