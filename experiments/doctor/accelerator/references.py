"""The golden references of the tests, on this device."""

import importlib
import time
from collections.abc import Iterator

import jax
import jax.numpy as jnp

from experiments.doctor.accelerator.scale import scale
from experiments.doctor.config import DoctorConfig
from experiments.doctor.finding import Finding, note, ok, problem

__all__ = ["references"]

PART_OF_SECONDS = 0.2


def references(config: DoctorConfig) -> Iterator[Finding]:
    """Logits, gradients and training steps, float32 at the highest precision, against PyTorch's float64."""
    try:
        golden = importlib.import_module("tests.golden.references")
        trajectory = importlib.import_module("tests.golden.trajectory")
        limits = importlib.import_module("tests.golden.limits")
    except ImportError as error:
        advice = "run from the root of a checkout of the repository, which holds tests/"
        yield note("references", f"not compared: {error}", advice)
        return
    start, left_out = time.perf_counter(), []
    for name in scale().references:
        begun = time.perf_counter()
        if begun - start > PART_OF_SECONDS * config.seconds:
            left_out.append(name)
            continue
        try:
            reference = golden.load(name)
            with jax.default_matmul_precision("highest"):
                found = limits.deviations(trajectory.follow(reference, jnp.float32), reference)
        except Exception as error:  # one reference must not lose the others
            text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            yield problem("references", f"{name}: {text}", "report this with the whole output")
            continue
        allowed = limits.limits_of(name)
        over = {key: found[key] for key, limit in allowed.items() if not found[key] <= limit}
        values = {key: float(value) for key, value in found.items()}
        numbers = (
            f"logits {values['eval_logits']:.1e}, gradients {values['grad_norms']:.1e}, "
            f"loss after two steps {values['loss 2']:.1e}"
        )
        text = f"{name}: {numbers} relative ({time.perf_counter() - begun:.0f} s)"
        if over:
            wrong = ", ".join(f"{key} {value:.1e} of {allowed[key]:.0e}" for key, value in over.items())
            yield problem(
                "references",
                f"{text}; over the limit: {wrong}",
                "report this with the whole output",
                **values,
            )
        else:
            yield ok("references", text, **values)
    if left_out:
        yield note("references", f"no time left for {', '.join(left_out)}", "--seconds gives more")
