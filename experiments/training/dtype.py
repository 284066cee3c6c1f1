"""``--dtype auto``: bfloat16 where this machine computes faster in it, else float32."""

import dataclasses
import functools
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from experiments.program.console import Console
from experiments.settings.config import Config
from experiments.settings.resume import saved_config
from jax_resnet.layers import conv_general_dilated
from jax_resnet.parallel.collectives import broadcast_from_primary

__all__ = ["WORTHWHILE", "convolution_seconds", "resolve_dtype"]

# A 3x3 convolution from the middle of resnet20, and how often it is timed.
IMAGES, SIDE, CHANNELS, REPEATS = 128, 16, 32, 5
# bfloat16 must be faster by this factor: below it is noise, and float32 is the more exact.
WORTHWHILE = 1.1


def resolve_dtype(config: Config, console: Console) -> Config:
    """The config with ``auto`` replaced by the type chosen, which the run records and a resumed run keeps."""
    if config.model.dtype != "auto":
        return config
    if config.run.resume and (saved := saved_config(config.workdir)):
        return _with_dtype(config, saved.model.dtype)
    dtype, reason = broadcast_from_primary(_choose)  # all processes run the same program
    console.line(f"--dtype auto: {dtype} ({reason})")
    return _with_dtype(config, dtype)


@functools.cache  # runs over seeds and networks that are compared are of one type
def _choose() -> tuple[str, str]:
    """The faster type, and the measurement behind it."""
    if jax.default_backend() != "cpu":
        return "bf16", f"on {jax.default_backend()}"
    f32, bf16 = (convolution_seconds(dtype) for dtype in (jnp.float32, jnp.bfloat16))
    dtype = "bf16" if f32 > WORTHWHILE * bf16 else "f32"
    return dtype, f"a convolution takes {1e3 * f32:.2f} ms in float32, {1e3 * bf16:.2f} ms in bfloat16"


def _with_dtype(config: Config, dtype: Any) -> Config:
    return dataclasses.replace(config, model=dataclasses.replace(config.model, dtype=dtype))


def convolution_seconds(dtype: DTypeLike) -> float:
    """Median time of one convolution, after a call that compiles it."""
    images = jnp.ones((IMAGES, SIDE, SIDE, CHANNELS), dtype)
    kernel = jnp.ones((3, 3, CHANNELS, CHANNELS), dtype)
    numbers = ("NHWC", "HWIO", "NHWC")
    convolve = jax.jit(lambda x, k: conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=numbers))
    convolve(images, kernel).block_until_ready()
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        convolve(images, kernel).block_until_ready()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)
