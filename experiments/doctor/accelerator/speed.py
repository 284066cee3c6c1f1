"""Training and evaluation steps as the programs run them: images per second."""

import dataclasses
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Literal

import jax
import numpy as np

from experiments.bench.loop import random_images
from experiments.doctor.accelerator.scale import Scale, scale
from experiments.doctor.config import DoctorConfig
from experiments.doctor.devices import memory_gib
from experiments.doctor.finding import Finding, note, ok, problem
from experiments.settings.config import Config
from experiments.training.build import Experiment, build_experiment
from jax_resnet.train import Metrics

__all__ = ["images_per_second", "speed"]

PART_OF_SECONDS = 0.35
TURNS = 3
IN_FLIGHT = 2  # as in the training loop

Call = Callable[[], Metrics]
Dtype = Literal["bf16", "f32"]
DTYPES: tuple[Dtype, ...] = ("bf16", "f32")


def speed(config: DoctorConfig) -> Iterator[Finding]:
    """Times each network in both types with one and several steps per dispatch, while there is time."""
    sizes, start, left_out = scale(), time.perf_counter(), []
    # bfloat16 first, each network before any is repeated: the most telling numbers, if time runs out.
    for arch, dtype in ((arch, dtype) for dtype in DTYPES for arch in sizes.networks):
        experiment = None
        for steps in (*sizes.steps_per_dispatch, 0):
            name = f"{arch} {dtype} {f'training, {steps} per dispatch' if steps else 'evaluation'}"
            if time.perf_counter() - start > PART_OF_SECONDS * config.seconds:
                left_out.append(name)
                continue
            try:
                experiment = experiment or make_experiment(arch, dtype, sizes)
                call, images = training(experiment, steps) if steps else evaluation(experiment, sizes)
                yield timed(name, call, images, sizes.turn_seconds)
            except Exception as error:  # one case must not lose the others
                text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
                yield problem("speed", f"{name}: {text}", "report this with the whole output")
    _, peak = memory_gib(jax.devices()[0])
    if peak:
        yield ok("speed", f"largest memory on the device {peak:.2f} GiB", peak_gib=peak)
    if left_out:
        yield note("speed", f"no time left for {'; '.join(left_out)}", "--seconds gives more")


def make_experiment(arch: str, dtype: Dtype, sizes: Scale) -> Experiment:
    """The experiment of a training that stays finite, on noise in the form of CIFAR-10."""
    default = Config()
    batch_size = sizes.batch_size + -sizes.batch_size % jax.device_count()
    settings = dataclasses.replace(
        default,
        model=dataclasses.replace(default.model, arch=arch, dtype=dtype),
        data=dataclasses.replace(default.data, val_size=0),
        optim=dataclasses.replace(default.optim, batch_size=batch_size, learning_rate=0.01),
    )
    return build_experiment(settings, random_images(32), steps_per_dispatch=max(sizes.steps_per_dispatch))


def training(experiment: Experiment, steps: int) -> tuple[Call, int]:
    """A call of the loop's program of one or several steps, on images from the host, and their number."""
    batches = experiment.batches(0)
    several = [next(batches) for _ in range(steps)]
    batch: Any = several[0]
    step: Any = experiment.steps.train
    if steps > 1:
        step = experiment.steps.train_many
        batch = {name: np.stack([one[name] for one in several]) for name in batch}
    # The steps donate their state, and the experiment's serves several cases.
    state = jax.tree.map(lambda leaf: leaf.copy(), experiment.state)

    def call() -> Metrics:
        nonlocal state
        state, metrics = step(state, batch)
        return metrics

    return call, steps * experiment.config.optim.batch_size


def evaluation(experiment: Experiment, sizes: Scale) -> tuple[Call, int]:
    """A call of the evaluation step on one batch from the host, and its number of images."""
    batch_size = sizes.eval_batch_size + -sizes.eval_batch_size % jax.device_count()
    batch = next(iter(experiment.data.test.eval_batches(batch_size)))
    variables = experiment.state.eval_variables
    return lambda: experiment.steps.evaluate(variables, batch)[1], batch_size


def timed(name: str, call: Call, images: int, seconds: float) -> Finding:
    """Compiles and times a call."""
    begun = time.perf_counter()
    first = jax.block_until_ready(call())
    compile_seconds = time.perf_counter() - begun
    turns = [images_per_second(call, images, seconds / TURNS) for _ in range(TURNS)]
    rate = statistics.median(turns)
    spread = (max(turns) - min(turns)) / 2 / rate
    text = f"{name}: {rate:,.0f} images/s, ±{spread:.0%} (first call {compile_seconds:.1f} s)"
    values = {
        "case": name,
        "images_per_call": images,
        "images_per_second": rate,
        "spread": spread,
        "first_call_seconds": compile_seconds,
    }
    if not np.isfinite(np.asarray(first["loss"])).all():
        return problem("speed", f"{text}; the loss is not finite", "report this", **values)
    return ok("speed", text, **values)


def images_per_second(call: Call, images: int, seconds: float) -> float:
    """Runs a call for so long, a few dispatched at any time as in the training loop."""
    pending: deque[Any] = deque()
    jax.block_until_ready(call())
    start, calls = time.perf_counter(), 0
    while calls < 3 or time.perf_counter() - start < seconds:
        pending.append(call())
        calls += 1
        if len(pending) > IN_FLIGHT:
            jax.block_until_ready(pending.popleft())
    jax.block_until_ready(list(pending))
    return calls * images / (time.perf_counter() - start)
