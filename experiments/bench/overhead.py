"""What the experiments' loop adds to its bare step: batches, metrics, records."""

import contextlib
import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging as absl_logging

from experiments.bench.case import BATCH_SIZES, parse_arch
from experiments.bench.config import BenchConfig
from experiments.program.console import Console
from experiments.runs.folder import open_run
from experiments.settings.config import Config
from experiments.training.build import Experiment, build_experiment
from experiments.training.loop import Loop
from jax_resnet.checkpoint import Checkpointer
from jax_resnet.data import ArraySplit, Dataset

IMAGES = 12_800


def loop_cost(config: BenchConfig, console: Console) -> list[dict[str, Any]]:
    """Times the loop and its step, with the device's copy of one batch, in turns."""
    absl_logging.set_verbosity(absl_logging.ERROR)  # orbax has something to say at each checkpoint
    rows = []
    for text in config.arch:
        arch, _ = parse_arch(text)
        batch_size = config.batch_size or BATCH_SIZES.get(arch, 64)
        for dtype in config.dtype:
            told = Config()
            told = dataclasses.replace(
                told,
                model=dataclasses.replace(told.model, arch=arch, dtype=dtype),
                data=dataclasses.replace(told.data, val_size=0),
                optim=dataclasses.replace(told.optim, batch_size=batch_size, learning_rate=0.01),
            )
            experiment = build_experiment(told, random_images(config.image_size))
            with tempfile.TemporaryDirectory() as folder:
                rows.append({"network": arch, "batch": batch_size, "dtype": dtype})
                rows[-1].update(compare(experiment, Path(folder) / "run", config))
    return rows


def random_images(size: int) -> Dataset[ArraySplit]:
    """Noise in the form of CIFAR-10."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (IMAGES, size, size, 3), np.uint8)
    split = ArraySplit(images, random.integers(0, 10, IMAGES).astype(np.int32))
    return Dataset("noise", split, split, tuple("0123456789"), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


class Clock(Console):
    """Prints nothing, and notes when each step of each training was done."""

    def __init__(self) -> None:
        """Starts with no training."""
        super().__init__(quiet=True)
        self.done: list[list[float]] = []

    @contextlib.contextmanager
    def training(self, start: int, total: int) -> Iterator[Callable[[int, str], None]]:
        """Yields what the loop calls after each step."""
        self.done.append([])
        yield lambda step, news: self.done[-1].append(time.perf_counter())


def compare(experiment: Experiment, folder: Path, config: BenchConfig) -> dict[str, float]:
    """Milliseconds of a step in the loop and alone, and what the loop adds."""
    batch = jax.device_put(next(experiment.batches(0)))
    # The loop's step donates its state, and the two must not share one.
    state = jax.tree.map(lambda leaf: leaf.copy(), experiment.state)

    def alone(steps: int) -> list[float]:
        """When each of so many steps is done, the next one always dispatched before."""
        nonlocal state
        done: list[float] = []
        state, pending = experiment.steps.train(state, batch)
        for _ in range(steps):
            state, metrics = experiment.steps.train(state, batch)
            jax.block_until_ready(pending)
            done.append(time.perf_counter())
            pending = metrics
        jax.block_until_ready(pending)
        return done

    first, second = alone(4)[-2:]
    steps = max(round(config.turn_seconds / (second - first)), 5)
    clock, turns = Clock(), []
    with open_run(folder, resume=False, overwrite=False) as run, Checkpointer(folder) as checkpointer:
        loop = Loop(experiment, run, checkpointer, clock)
        loop.run(last_step=3)
        for _ in range(config.rounds):
            loop.run(last_step=loop.step + steps)
            turns.append(alone(steps))
    in_loop = 1e3 * statistics.median(np.concatenate([np.diff(done) for done in clock.done[1:]]))
    bare = 1e3 * statistics.median(np.concatenate([np.diff(done) for done in turns]))
    return {
        "in the loop (ms)": in_loop,
        "step alone (ms)": bare,
        "added (%)": 100 * (in_loop / bare - 1),
        "steps": config.rounds * steps,
    }
