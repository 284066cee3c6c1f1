"""The one training loop: steps, evaluations, checkpoints, records."""

import math
import signal
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from types import FrameType
from typing import Any

import jax
import numpy as np
import optax

from experiments.inference.evaluation import Evaluation, evaluate
from experiments.program.console import Console
from experiments.program.errors import ExperimentError, Preempted
from experiments.runs.folder import WATCHED, RunFolder
from experiments.training.build import Experiment
from experiments.training.metrics import Meter, diverged
from jax_resnet.checkpoint import Checkpointer
from jax_resnet.data import Split
from jax_resnet.parallel import process_max
from jax_resnet.train import Batch, Metrics, TrainState

# Steps handed to the device before the oldest one's metrics are waited for: enough to keep it busy.
IN_FLIGHT = 2


class Loop:
    """Trains an experiment in a folder, from its newest checkpoint on."""

    def __init__(
        self, experiment: Experiment, folder: RunFolder, checkpointer: Checkpointer, console: Console
    ) -> None:
        """Continues where the folder's newest readable checkpoint is, or starts."""
        self.experiment, self.folder, self.checkpointer, self.console = (
            experiment,
            folder,
            checkpointer,
            console,
        )
        config = experiment.config
        restored = checkpointer.restore(
            experiment.state,
            on_broken=lambda step, trouble: console.line(f"checkpoint {step} is passed over: {trouble}"),
        )
        self.state: TrainState = restored or experiment.state
        self.step = int(self.state.step)
        if restored:
            self._check_position(checkpointer.position(self.step))
            console.line(f"continuing from step {self.step}")
        elif config.run.resume:
            console.line(f"no checkpoint to resume in {folder.path}: starting from step 0")
        folder.rewind(self.step)
        records = folder.records()
        self._seconds_before = max((record.get("seconds", 0.0) for record in records), default=0.0)
        self._started = time.perf_counter()
        # Asked for here, and what all processes have agreed on since: a signal's number, and a checkpoint.
        self._stop_asked = self._stop = 0
        self._checkpoint_agreed = False
        self._process_max = process_max(experiment.plan.mesh)
        self._saved_at = time.monotonic()
        self._norm = jax.jit(optax.tree.norm)
        self._validated = {r["step"]: r["accuracy"] for r in records if r["kind"] == "val"}
        self._watched = {r["step"] for r in records if r["kind"] == "test"}
        self.meter = Meter(experiment, folder, self.seconds)

    def seconds(self) -> float:
        """Wall-clock time of the run so far, earlier parts of it included."""
        return self._seconds_before + time.perf_counter() - self._started

    @property
    def images_per_second(self) -> float:
        """Trained on in this process, compilation and evaluations aside."""
        return self.meter.images_per_second

    @property
    def best_step(self) -> int | None:
        """Of the checkpoint with the highest validation accuracy, the earliest of equals."""
        return max(self._validated, key=lambda s: (self._validated[s], -s), default=None)

    @property
    def val_accuracy(self) -> float | None:
        """Of the best checkpoint, on the validation set."""
        return max(self._validated.values(), default=None)

    def run(self, until: int) -> None:
        """Trains until that many updates are made.

        Raises:
            ExperimentError: A loss or gradient is not finite.
            Preempted: A signal asked to stop; a checkpoint is written.
        """
        previous = {s: signal.signal(s, self._ask_to_stop) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            with closing(self.experiment.batches(self.step)) as batches:
                self._run(until, batches)
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _run(self, until: int, batches: Iterator[Batch]) -> None:
        pending: deque[tuple[int, Metrics, Any]] = deque()

        def absorb(keep: int) -> None:
            while len(pending) > keep:
                step, metrics, votes = pending.popleft()
                self.meter.add(step, metrics)
                self._heed(votes)
                show(self.meter.step, self.meter.news)
                if estimate := self.meter.estimate(until):
                    self.console.line(estimate)

        if self.step:
            self._look(until)  # the run may have been stopped while it did
        while self.step < until:
            with self.console.training(self.step, until) as show:
                while self.step < until and not self._stop:
                    votes = self._vote()
                    metrics = self._train(until, batches)
                    pending.append((self.step, metrics, votes))
                    absorb(IN_FLIGHT - 1)
                    if self._evaluation_due() or self._checkpoint_agreed:
                        break
                absorb(0)
            self.meter.flush()
            self._leave_if_asked()
            self._look(until)
        with self.meter.paused():
            self.checkpointer.wait()
        self._heed(self._vote())
        self._leave_if_asked()

    def _train(self, until: int, batches: Iterator[Batch]) -> Metrics:
        """Dispatches the next step, or the next few where nothing is due between them."""
        experiment, count = self.experiment, self.experiment.steps_per_dispatch
        due = min(until, self._next_evaluation(self.step))
        if experiment.train_steps is None or self.step + count > due:
            self.state, metrics = experiment.train_step(self.state, next(batches))
            self.step += 1
            return metrics
        several = [next(batches) for _ in range(count)]
        stacked = {name: np.stack([batch[name] for batch in several]) for name in several[0]}
        self.state, metrics = experiment.train_steps(self.state, stacked)
        self.step += count
        return metrics

    def _look(self, until: int) -> None:
        with self.meter.paused():
            accuracy = self._validate() if self._evaluation_due() or self.step == until else None
            self._watch_test()
            self._save(accuracy)

    def _vote(self) -> Any:
        """What this process would do, being made what all do."""
        due = time.monotonic() - self._saved_at > 60 * self.experiment.config.run.checkpoint_minutes
        return self._process_max(np.array([self._stop_asked, due]))

    def _heed(self, votes: Any) -> None:
        stop, checkpoint = (int(vote) for vote in np.asarray(votes))
        self._stop, self._checkpoint_agreed = stop or self._stop, bool(checkpoint)

    def _leave_if_asked(self) -> None:
        if self._stop:
            self._save(None)
            self.checkpointer.wait()
            raise Preempted(self._stop, self.step, self.folder.path)

    def _evaluation_due(self) -> bool:
        return self.step == self._next_evaluation(self.step - 1)

    def _next_evaluation(self, step: int) -> int:
        every = self.experiment.steps_per_epoch * self.experiment.config.run.eval_every
        whole, total = step - step % every + every, self.experiment.total_steps
        return min(whole, total) if step < total else whole

    def _validate(self) -> float | None:
        experiment = self.experiment
        if experiment.val is None:
            return None
        if self.step in self._validated:
            return self._validated[self.step]
        result = self._evaluate("val", "validation", experiment.val)
        self.console.line(
            f"epoch {self.step / experiment.steps_per_epoch:.4g}  step {self.step}  "
            f"validation loss {result.loss:.4f}  accuracy {result.accuracy:.2%}"
        )
        self._validated[self.step] = result.accuracy
        return result.accuracy

    def _watch_test(self) -> None:
        every = self.experiment.config.run.test_every
        epoch, rest = divmod(self.step, self.experiment.steps_per_epoch)
        if not every or rest or epoch % every or self.step in self._watched:
            return
        result = self._evaluate("test", "test", self.experiment.test, which=WATCHED)
        self.console.line(f"[{epoch}] Test Loss: {result.loss:.4f}, Accuracy: {result.accuracy:.2%}")
        self._watched.add(self.step)

    def _evaluate(self, kind: str, name: str, split: Split, **about: str) -> Evaluation:
        with self.console.progress(f"{name} (images)", len(split)) as show:

            def advance(images: int) -> None:
                show(images)
                self._heed(self._vote())
                self._leave_if_asked()

            result = evaluate(
                self.experiment.eval_step,
                self.state.eval_variables,
                split,
                self.experiment.config.run.eval_batch_size,
                advance,
            )
        self.folder.log(
            {
                "kind": kind,
                **about,
                "step": self.step,
                "epoch": self.step / self.experiment.steps_per_epoch,
                "loss": result.loss,
                "accuracy": result.accuracy,
                "images": result.images,
                "seconds": self.seconds(),
            }
        )
        return result

    def _check_position(self, saved: dict[str, Any] | None) -> None:
        now = self.experiment.position(self.step)
        if saved not in (None, now):
            raise ExperimentError(
                f"the training data has changed: the checkpoint is {saved['examples']:,} examples into "
                f"{saved['of']}, not {now['examples']:,} into {now['of']}; resume with the data as it "
                "was, or start another run in a new --workdir"
            )

    def _save(self, accuracy: float | None) -> None:
        # An update can overflow after a finite loss and gradient; such a state must not become "the last".
        if not math.isfinite(float(self._norm(self.state.params))):
            raise diverged(self.experiment, self.step, "a parameter")
        self.checkpointer.save(
            self.state, self.experiment.described, accuracy, self.experiment.position(self.step)
        )
        self._saved_at = time.monotonic()
        self._checkpoint_agreed = False

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        if self._stop_asked:  # asked twice: the user will not wait for a checkpoint
            raise KeyboardInterrupt
        self._stop_asked = number
