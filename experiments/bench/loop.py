"""What the experiments' loop adds to its training step: batches, metrics, records."""

import contextlib
import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
from absl import logging as absl_logging

from experiments.bench.case import batch_size_of, parse_arch
from experiments.bench.config import BenchConfig
from experiments.bench.table import Row
from experiments.program.console import Console
from experiments.program.signals import StopSignals
from experiments.runs.folder import open_run
from experiments.settings.config import Config
from experiments.training.build import Experiment, build_experiment
from experiments.training.loop import Loop
from jax_resnet.checkpoint import Checkpointer
from jax_resnet.data import ArraySplit, Dataset

__all__ = ["time_loop"]

IMAGES = 12_800


def time_loop(config: BenchConfig, console: Console) -> list[Row]:
    """Times the loop, and in the same rounds its step alone on one batch that stays on the device."""
    absl_logging.set_verbosity(absl_logging.ERROR)  # orbax logs at every checkpoint
    rows = []
    for text in config.arch:
        arch, _ = parse_arch(text)
        batch_size = batch_size_of(arch, config.batch_size)
        for dtype in config.dtype:
            settings = Config()
            settings = dataclasses.replace(
                settings,
                model=dataclasses.replace(settings.model, arch=arch, dtype=dtype),
                data=dataclasses.replace(settings.data, val_size=0),
                optim=dataclasses.replace(settings.optim, batch_size=batch_size, learning_rate=0.01),
            )
            experiment = build_experiment(settings, random_images(config.image_size))
            with tempfile.TemporaryDirectory() as folder:
                rows.append({"network": arch, "batch": batch_size, "dtype": dtype})
                rows[-1].update(compare(experiment, Path(folder) / "run", config))
            console.line(f"{arch} {dtype}: the loop adds {rows[-1]['added (%)']:.1f}%")
    return rows


def random_images(size: int) -> Dataset[ArraySplit]:
    """Noise in the form of CIFAR-10, with images of ``size`` x ``size`` pixels."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (IMAGES, size, size, 3), np.uint8)
    split = ArraySplit(images, random.integers(0, 10, IMAGES).astype(np.int32))
    return Dataset("noise", split, split, tuple("0123456789"), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


class StepClock(Console):
    """A console that prints nothing and records when each step of each training ended."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.ends: list[list[float]] = []

    @contextlib.contextmanager
    def training(self, start: int, total: int) -> Iterator[Callable[[int, str], None]]:
        """Yields the function that the loop calls after each step."""
        self.ends.append([])
        yield lambda step, news: self.ends[-1].append(time.perf_counter())


def compare(experiment: Experiment, folder: Path, config: BenchConfig) -> dict[str, float]:
    """Returns the milliseconds per step in the loop and alone, and what the loop adds in percent."""
    batch = jax.device_put(next(experiment.batches(0)))
    # The loop's step donates its state, so the two must not share one.
    state = jax.tree.map(lambda leaf: leaf.copy(), experiment.state)

    def alone(steps: int) -> list[float]:
        """Runs the step and returns when each ended; the next step is always dispatched before."""
        nonlocal state
        ends: list[float] = []
        state, pending = experiment.steps.train(state, batch)
        for _ in range(steps):
            state, metrics = experiment.steps.train(state, batch)
            jax.block_until_ready(pending)
            ends.append(time.perf_counter())
            pending = metrics
        jax.block_until_ready(pending)
        return ends

    first, second = alone(4)[-2:]
    steps = max(round(config.round_seconds / (second - first)), 5)
    clock, rounds = StepClock(), []
    with open_run(folder, resume=False, overwrite=False) as run, Checkpointer(folder) as checkpointer:
        loop = Loop(experiment, run, checkpointer, StopSignals(folder), clock)  # no signal is noted
        loop.run(last_step=3)
        for _ in range(config.rounds):
            loop.run(last_step=loop.step + steps)
            rounds.append(alone(steps))
    in_loop = 1e3 * statistics.median(np.concatenate([np.diff(ends) for ends in clock.ends[1:]]))
    bare = 1e3 * statistics.median(np.concatenate([np.diff(ends) for ends in rounds]))
    return {
        "in the loop (ms)": in_loop,
        "step alone (ms)": bare,
        "added (%)": 100 * (in_loop / bare - 1),
        "steps": config.rounds * steps,
    }
