"""Training metrics, from what the device returns to records of metrics.jsonl."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from experiments.program.console import format_duration
from experiments.program.errors import ExperimentError
from experiments.runs.environment import device
from experiments.runs.folder import RunFolder
from experiments.training.build import Experiment
from jax_resnet.train import Metrics

__all__ = ["DivergedError", "TrainingMetrics", "diverged"]

# The remaining time is printed once, after this many steps or seconds, whichever comes first.
ESTIMATE_AFTER_STEPS, ESTIMATE_AFTER_SECONDS = 20, 20.0


class DivergedError(ExperimentError):
    """A loss, gradient or parameter that is not finite.

    Attributes:
        step: The step at which it was seen.
    """

    def __init__(self, message: str, step: int) -> None:
        super().__init__(message)
        self.step = step


class TrainingMetrics:
    """Sums training metrics as they arrive, and writes a record every ``--log-every`` steps.

    Attributes:
        step: The last step whose metrics have arrived.
        status: One line about it for the progress bar.
        rate_factor: Factor of the schedule's learning rate, below 1 after a rollback.
    """

    def __init__(self, experiment: Experiment, folder: RunFolder, run_seconds: Callable[[], float]) -> None:
        self.step = 0
        self.status = ""
        self.rate_factor = 1.0
        self._experiment, self._folder, self._run_seconds = experiment, folder, run_seconds
        self._since_record: list[dict[str, Any]] = []
        self._record_seconds, self._record_images = 0.0, 0
        self._images, self._seconds, self._steps_timed = 0, 0.0, 0
        self._last_arrival: float | None = None
        self._estimated = False

    @property
    def images_per_second(self) -> float:
        """Training speed over all steps but those that compile; 0.0 before the second."""
        return self._images / self._seconds if self._seconds else 0.0

    def add(self, step: int, metrics: Metrics) -> None:
        """Adds the metrics of one step, or of several that end with ``step``; waits until they are computed.

        Raises:
            DivergedError: A loss or gradient is not finite.
        """
        fetched = {name: np.atleast_1d(value) for name, value in jax.device_get(metrics).items()}
        count, now = len(fetched["loss"]), time.perf_counter()
        seconds = None if self._last_arrival is None else (now - self._last_arrival) / count
        self._last_arrival = now
        for i in range(count):
            values = {name: value[i].item() for name, value in fetched.items()}
            self._add_step(step - count + 1 + i, values, seconds)

    def _add_step(self, step: int, values: dict[str, Any], seconds: float | None) -> None:
        if seconds is not None:
            self._seconds += seconds
            self._record_seconds += seconds
            self._record_images += values["count"]
            self._images += values["count"]
            self._steps_timed += 1
        self.step = step
        for name in ("loss", "grad_norm"):
            if not math.isfinite(values[name]):
                what = "the loss" if name == "loss" else "the gradient"
                raise diverged(self._experiment, step, what, self.rate_factor)
        self._since_record.append(values)
        speed = f"  {self.images_per_second:.0f} images/s" if self._seconds else ""
        self.status = (
            f"epoch {self._experiment.epoch(step):.2f}  loss {values['loss'] / values['count']:.3f}  "
            f"accuracy {values['correct'] / values['count']:.1%}{speed}"
        )
        if step % self._experiment.config.run.log_every == 0:
            self.flush()

    def flush(self) -> None:
        """Writes the record of the steps since the last one."""
        if not self._since_record:
            return
        sums = {name: sum(values[name] for values in self._since_record) for name in self._since_record[0]}
        speed = self._record_images / self._record_seconds if self._record_seconds else None
        scale = self._since_record[-1].get("learning_rate_scale", 1.0) * self.rate_factor
        self._folder.log(
            {
                "kind": "train",
                "step": self.step,
                "epoch": self._experiment.epoch(self.step),
                "loss": sums["loss"] / sums["count"],
                "accuracy": sums["correct"] / sums["count"],
                "images": sums["count"],
                "grad_norm": sums["grad_norm"] / len(self._since_record),
                "learning_rate": scale * self._experiment.learning_rate(self.step - 1),
                "images_per_second": speed,
                "seconds": self._run_seconds(),
            }
        )
        self._start_record()

    def _start_record(self) -> None:
        self._since_record, self._record_seconds, self._record_images = [], 0.0, 0

    def go_back(self, rate_factor: float) -> None:
        """Forgets what is not recorded yet: the training goes back to an earlier step."""
        self._start_record()
        self._last_arrival = None
        self.rate_factor = rate_factor

    def compiles(self) -> None:
        """Says that the next step is compiled first, in a time that does not count as training."""
        self._last_arrival = None

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """A context whose time does not count as training."""
        start = time.perf_counter()
        yield
        if self._last_arrival is not None:
            self._last_arrival += time.perf_counter() - start

    def estimate(self, last_step: int) -> str:
        """How long the rest takes: one line after the first steps, once; empty otherwise."""
        timed = self._steps_timed >= ESTIMATE_AFTER_STEPS or self._seconds >= ESTIMATE_AFTER_SECONDS
        if self._estimated or not timed:
            return ""
        self._estimated = True
        left = self._units_left(last_step) * self._seconds / self._steps_timed
        return (
            f"{last_step - self.step} steps left, about {format_duration(left)} at "
            f"{self.images_per_second:.0f} images/s on {device()}, evaluations not counted"
        )

    def _units_left(self, last_step: int) -> float:
        """The steps that are left, in steps of the size that was timed."""
        steps, small_size = self._experiment.steps, self._experiment.config.data.small_size
        large = last_step - max(self.step, min(steps.small_until, last_step))
        small = last_step - self.step - large
        # The time for an image goes with its pixels.
        return small + large * (self._experiment.data.image_shape[0] / small_size) ** 2 if small else large


def diverged(experiment: Experiment, step: int, what: str, rate_factor: float = 1.0) -> DivergedError:
    """The error of a training that diverged."""
    return DivergedError(
        f"{what} is not finite at step {step}, epoch {experiment.epoch(step):.2f}, learning rate "
        f"{rate_factor * experiment.learning_rate(step - 1):.4g}; the checkpoints before it are kept; try a "
        "lower --learning-rate or --warmup 0.05",
        step,
    )
