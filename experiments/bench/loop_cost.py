"""What the experiments' loop adds to its bare step: batches, metrics, records."""

import dataclasses
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.bench.config import BenchConfig
from experiments.bench.subject import BATCH_SIZES, parse_arch
from experiments.config import Config
from experiments.console import Console
from experiments.loop import Loop
from experiments.run_folder import open_run
from experiments.setup import Experiment, build
from jax_resnet.checkpoint import Checkpointer
from jax_resnet.data import Dataset, Split

IMAGES = 12_800


def loop_cost(config: BenchConfig, console: Console) -> list[dict[str, Any]]:
    """Times the loop and its step, with the device's copy of one batch, in turns."""
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
            experiment = build(told, random_images(config.image_size))
            with tempfile.TemporaryDirectory() as folder:
                rows.append({"network": arch, "batch": batch_size, "dtype": dtype})
                rows[-1].update(compare(experiment, Path(folder) / "run", config))
    return rows


def random_images(size: int) -> Dataset:
    """Noise in the form of CIFAR-10."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (IMAGES, size, size, 3), np.uint8)
    split = Split(images, random.integers(0, 10, IMAGES).astype(np.int32))
    return Dataset("noise", split, split, tuple("0123456789"), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def compare(experiment: Experiment, folder: Path, config: BenchConfig) -> dict[str, float]:
    """Milliseconds of a step in the loop and alone, and what the loop adds."""
    batch = jax.device_put(next(experiment.batches(0)))
    # The loop's step donates its state, and the two must not share one.
    state = jax.tree.map(lambda leaf: leaf.copy(), experiment.state)
    for _ in range(2):
        state, metrics = experiment.train_step(state, batch)
    jax.block_until_ready(metrics)
    batch_size = experiment.config.optim.batch_size
    seconds: dict[str, list[float]] = {"loop": [], "alone": []}
    quiet = Console(quiet=True)
    with open_run(folder, resume=False, overwrite=False) as run, Checkpointer(folder) as checkpointer:
        loop = Loop(experiment, run, checkpointer, quiet)
        loop.run(until=3)
        start = time.perf_counter()
        state, metrics = experiment.train_step(state, batch)
        jax.block_until_ready(metrics)
        steps = max(round(config.turn_seconds / (time.perf_counter() - start)), 5)
        for _ in range(config.rounds):
            images, spent = loop.meter.images, loop.meter.seconds
            loop.run(until=loop.step + steps)
            seconds["loop"].append((loop.meter.seconds - spent) / (loop.meter.images - images))
            with loop.meter.paused():  # else the meter takes this for a slow step of the loop
                checkpointer.wait()  # a checkpoint being written in the background is no part of the loop
                start = time.perf_counter()
                for _ in range(steps):
                    state, metrics = experiment.train_step(state, batch)
                jax.block_until_ready(metrics)
                seconds["alone"].append((time.perf_counter() - start) / (steps * batch_size))
    each = {name: statistics.median(values) for name, values in seconds.items()}
    batch_ms = 1e3 * batch_size
    return {
        "in the loop (ms)": batch_ms * each["loop"],
        "step alone (ms)": batch_ms * each["alone"],
        "added (%)": 100 * (each["loop"] / each["alone"] - 1),
    }
