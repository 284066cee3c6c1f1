"""Training metrics, from what the device returns to lines of metrics.jsonl."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from experiments.program.console import spell
from experiments.program.errors import ExperimentError
from experiments.runs.folder import RunFolder, device
from experiments.training.build import Experiment
from jax_resnet.train import Metrics

# The expected time is told after this many steps, or seconds if those come first.
ESTIMATE_AFTER_STEPS, ESTIMATE_AFTER_SECONDS = 20, 20.0


class Meter:
    """Adds up training metrics as they arrive, and writes a record every so many steps."""

    def __init__(self, experiment: Experiment, folder: RunFolder, seconds: Callable[[], float]) -> None:
        """Starts with nothing added up."""
        self.step = 0
        self.news = ""
        self._experiment, self._folder, self._seconds = experiment, folder, seconds
        self._window: list[dict[str, Any]] = []
        self.images, self.seconds = 0, 0.0
        self._clock: float | None = None
        self._window_time = 0.0
        self._steps_timed, self._estimated = 0, False

    @property
    def images_per_second(self) -> float:
        """Over all steps but the first, which compiles."""
        return self.images / self.seconds if self.seconds else 0.0

    def add(self, step: int, metrics: Metrics) -> None:
        """Takes the metrics of a step, or of several up to ``step``, waiting until they are computed."""
        fetched = {name: np.atleast_1d(value) for name, value in jax.device_get(metrics).items()}
        count, now = len(fetched["loss"]), time.perf_counter()
        seconds = None if self._clock is None else (now - self._clock) / count
        self._clock = now
        for i in range(count):
            self._add(
                step - count + 1 + i, {name: value[i].item() for name, value in fetched.items()}, seconds
            )

    def _add(self, step: int, values: dict[str, Any], seconds: float | None) -> None:
        if seconds is not None:
            self.seconds += seconds
            self._window_time += seconds
            self.images += values["count"]
            self._steps_timed += 1
        self.step = step
        for name in ("loss", "grad_norm"):
            if not math.isfinite(values[name]):
                raise diverged(self._experiment, step, "the loss" if name == "loss" else "the gradient")
        self._window.append(values)
        epoch = step / self._experiment.steps_per_epoch
        self.news = (
            f"epoch {epoch:.2f}  loss {values['loss'] / values['count']:.3f}  "
            f"accuracy {values['correct'] / values['count']:.1%}  {self.images_per_second:.0f} images/s"
        )
        if step % self._experiment.config.run.log_every == 0:
            self.flush()

    def flush(self) -> None:
        """Writes the record of the steps since the last one."""
        if not self._window:
            return
        sums = {name: sum(values[name] for values in self._window) for name in self._window[0]}
        scale = self._window[-1].get("learning_rate_scale", 1.0)
        self._folder.log(
            {
                "kind": "train",
                "step": self.step,
                "epoch": self.step / self._experiment.steps_per_epoch,
                "loss": sums["loss"] / sums["count"],
                "accuracy": sums["correct"] / sums["count"],
                "images": sums["count"],
                "grad_norm": sums["grad_norm"] / len(self._window),
                "learning_rate": scale * self._experiment.learning_rate(self.step - 1),
                "images_per_second": sums["count"] / self._window_time if self._window_time else None,
                "seconds": self._seconds(),
            }
        )
        self._window, self._window_time = [], 0.0

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """A context in which time does not count as training."""
        start = time.perf_counter()
        yield
        if self._clock is not None:
            self._clock += time.perf_counter() - start

    def estimate(self, until: int) -> str:
        """Once, after the first steps: how long the rest will take. Else nothing."""
        timed = self._steps_timed >= ESTIMATE_AFTER_STEPS or self.seconds >= ESTIMATE_AFTER_SECONDS
        if self._estimated or not timed:
            return ""
        self._estimated = True
        left = (until - self.step) * self.seconds / self._steps_timed
        return (
            f"{until - self.step} steps to go take about {spell(left)} at "
            f"{self.images_per_second:.0f} images/s on {device()}, evaluations aside"
        )


def diverged(experiment: Experiment, step: int, what: str) -> ExperimentError:
    """The error of a training that blew up."""
    rate = experiment.learning_rate(step - 1)
    return ExperimentError(
        f"{what} is not finite at step {step}, epoch {step / experiment.steps_per_epoch:.2f}, learning rate "
        f"{rate:.4g}; the checkpoints before it are kept; try a lower --learning-rate or --warmup-epochs 5"
    )
