"""The training loop: steps, evaluations, checkpoints, records."""

import math
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import numpy as np

from experiments.inference.evaluation import Evaluation, evaluate
from experiments.program.compiled import store_compiled
from experiments.program.console import Console
from experiments.program.errors import ExperimentError, Preempted
from experiments.program.signals import StopSignals
from experiments.runs.folder import RunFolder
from experiments.runs.records import STOPPED, WATCHED
from experiments.training import rollback
from experiments.training.build import Experiment
from experiments.training.metrics import DivergedError, TrainingMetrics, diverged
from jax_resnet import optim
from jax_resnet.checkpoint import Checkpointer, NonFiniteError
from jax_resnet.checkpoint.retention import best
from jax_resnet.data import Split
from jax_resnet.parallel.collectives import process_max
from jax_resnet.train import Batch, Metrics, TrainState

__all__ = ["MAX_IN_FLIGHT", "InFlight", "Loop"]

# The number under which a closed pipe ends programs, on systems without that signal too.
SIGPIPE = getattr(signal, "SIGPIPE", 13)
# Steps handed to the device before the oldest one's metrics are waited for: enough to keep it busy.
MAX_IN_FLIGHT = 2

InFlight = deque[tuple[int, Metrics, Any]]


class Loop:
    """Trains an experiment in a run folder, from its newest checkpoint on."""

    def __init__(
        self,
        experiment: Experiment,
        folder: RunFolder,
        checkpointer: Checkpointer,
        signals: StopSignals,
        console: Console,
    ) -> None:
        """Restores the newest readable checkpoint, where there is one.

        Raises:
            jax_resnet.errors.CheckpointError: There are checkpoints, and none can be read or restored.
            ExperimentError: The training data is not what the checkpoint was trained on.
        """
        self.experiment, self.folder = experiment, folder
        self.checkpointer, self.console = checkpointer, console
        self._signals = signals
        self.state: TrainState = experiment.state
        restored = self._restore()
        self.state = restored or self.state
        self.step = int(self.state.step)
        if restored:
            console.line(f"continuing from step {self.step}")
        elif experiment.config.run.resume:
            console.line(f"no checkpoint in {folder.path} yet: starting from step 0")
        folder.rewind(self.step)
        records = folder.records()
        self._rolls_back = experiment.config.optim.on_nan == "rollback"
        if self._rolls_back:
            self.state = rollback.continued(self.state, records)
        # From both, as a checkpoint outlives a lost metrics.jsonl, and a record a deleted checkpoint.
        self._validated = checkpointer.accuracies()
        self._validated |= {r["step"]: r["accuracy"] for r in records if r["kind"] == "val"}
        self._watched = {r["step"] for r in records if r["kind"] == "test"}
        self._report_lost_best()
        self._seconds_before = max((record.get("seconds", 0.0) for record in records), default=0.0)
        self._started = time.perf_counter()
        self._saved_at = time.monotonic()
        # What all processes have agreed on: a signal, a checkpoint.
        self._preempted_by = 0
        self._checkpoint_due = False
        self._process_max = process_max(experiment.plan.mesh)
        self.metrics = TrainingMetrics(experiment, folder, self.seconds)
        self.metrics.rate_factor = optim.rate_factor(self.state.opt_state)

    def _restore(self) -> TrainState | None:
        restored = self.checkpointer.restore(
            self.state,
            on_broken=lambda step, reason: self.console.line(f"checkpoint {step} is passed over: {reason}"),
        )
        if restored:
            step = int(restored.step)
            self._check_position(self.checkpointer.position(step), step)
        return restored

    def _report_lost_best(self) -> None:
        """Says at once, not after hours, that the best checkpoint so far is gone."""
        best = self.best_step
        if best is None:
            return
        if best not in self.checkpointer.steps() or best in self.checkpointer.damaged():
            self.console.line(
                f"the checkpoint of step {best}, best on validation so far, is lost: "
                "the last one is reported unless a later one is better"
            )

    def _check_position(self, saved: dict[str, Any] | None, step: int) -> None:
        now = self.experiment.position(step)
        if saved not in (None, now):
            raise ExperimentError(
                f"the training data has changed: the checkpoint is {saved['examples']:,} examples into "
                f"{saved['of']}, not {now['examples']:,} into {now['of']}; resume with the data as it "
                "was, or start another run in a new --workdir"
            )

    def seconds(self) -> float:
        """Wall-clock seconds of the run so far, earlier parts of it included."""
        return self._seconds_before + time.perf_counter() - self._started

    @property
    def best_step(self) -> int | None:
        """Step of the checkpoint with the highest validation accuracy, the earliest of equals."""
        return best(self._validated)

    @property
    def val_accuracy(self) -> float | None:
        """Validation accuracy of the best checkpoint."""
        return max(self._validated.values(), default=None)

    def run(self, last_step: int) -> None:
        """Trains until ``last_step`` updates are made.

        Raises:
            DivergedError: A loss, a gradient or a parameter is not finite, after all rollbacks if there are
                some.
            Preempted: A signal asked to stop; a checkpoint is written.
        """
        self.stop_if_asked()
        if self._rolls_back and not self.step:
            self._save(None)  # so that there always is a state to go back to
        while True:
            try:
                self._run(last_step)
            except DivergedError as error:
                self._roll_back(error)
            else:
                return

    def _run(self, last_step: int) -> None:
        with closing(self.experiment.batches(self.step)) as batches:
            if self.step:  # the run may have been stopped during an evaluation
                self._evaluate_and_save(last_step)
            while self.step < last_step:
                self._train_until_due(last_step, batches)
                self._raise_if_preempted()
                self._evaluate_and_save(last_step)
            with self.metrics.paused():
                self.checkpointer.wait()
            self.stop_if_asked()

    def _roll_back(self, error: DivergedError) -> None:
        """Goes back to the newest checkpoint with half the learning rate.

        Raises:
            DivergedError: The run does not roll back, or has done so often enough.
        """
        # The state holds the factor of all rollbacks so far; the checkpoint may have only some.
        factor = rollback.lower(self.metrics.rate_factor) if self._rolls_back else None
        if factor is None:
            raise error
        self.checkpointer.wait()
        restored = self._restore()
        if restored is None:
            raise error
        self.state = restored.replace(opt_state=optim.with_rate_factor(restored.opt_state, factor))
        self.step = int(self.state.step)
        self.metrics.go_back(factor)
        self.folder.rewind(self.step)
        self._validated = {step: value for step, value in self._validated.items() if step <= self.step}
        self._watched = {step for step in self._watched if step <= self.step}
        self._saved_at, self._checkpoint_due = time.monotonic(), False
        self.folder.log(
            {
                "kind": rollback.KIND,
                "step": self.step,
                "epoch": self.experiment.epoch(self.step),
                "from_step": error.step,
                "factor": factor,
                "seconds": self.seconds(),
            }
        )
        reason = str(error).partition(";")[0]
        self.console.line(f"{reason}: back at step {self.step} with {factor:g} of the learning rate")

    def stop_if_asked(self) -> None:
        """Asks all processes for signals. Every process must call it at the same place.

        Raises:
            Preempted: There was one; a checkpoint is written.
        """
        self._apply_signals(self._process_max(self._local_signals()))
        self._raise_if_preempted()

    def _train_until_due(self, last_step: int, batches: Iterator[Batch]) -> None:
        """Trains until an evaluation or checkpoint is due, a signal came, or ``last_step`` is reached."""
        in_flight: InFlight = deque()
        if self._size_changes():
            self.metrics.compiles()
        with self.console.training(self.step, last_step) as show:
            while self.step < last_step and not self._preempted_by:
                # Read MAX_IN_FLIGHT steps later, so that asking the other processes never waits.
                signals = self._process_max(self._local_signals())
                metrics = self._dispatch(last_step, batches)
                if not in_flight:
                    store_compiled()  # the step is compiled now
                in_flight.append((self.step, metrics, signals))
                self._drain(in_flight, MAX_IN_FLIGHT - 1, last_step, show)
                if self._evaluation_due() or self._checkpoint_due or self._size_changes():
                    break
            self._drain(in_flight, 0, last_step, show)
        self.metrics.flush()

    def _dispatch(self, last_step: int, batches: Iterator[Batch]) -> Metrics:
        """Starts the next step, or the next few in one program where nothing is due between them."""
        steps = self.experiment.steps.at(self.step)
        due = min(last_step, self._next_evaluation(self.step), self._next_size(self.step))
        if steps.train_many is None or self.step + steps.per_dispatch > due:
            self.state, metrics = steps.train(self.state, next(batches))
            self.step += 1
            return metrics
        several = [next(batches) for _ in range(steps.per_dispatch)]
        stacked = {name: np.stack([batch[name] for batch in several]) for name in several[0]}
        self.state, metrics = steps.train_many(self.state, stacked)
        self.step += steps.per_dispatch
        return metrics

    def _drain(
        self, in_flight: InFlight, keep: int, last_step: int, show: Callable[[int, str], None]
    ) -> None:
        """Waits for the oldest steps until ``keep`` are left, and records their metrics."""
        while len(in_flight) > keep:
            step, metrics, signals = in_flight.popleft()
            self.metrics.add(step, metrics)
            self._apply_signals(signals)
            show(self.metrics.step, self.metrics.status)
            if estimate := self.metrics.estimate(last_step):
                self.console.line(estimate)

    def _evaluate_and_save(self, last_step: int) -> None:
        with self.metrics.paused():
            due = self._validation_due()
            accuracy = self._validate(due) if due or self.step == last_step else None
            if self._test_due():
                self._watch_test()
            store_compiled()
            # Without its accuracy a stop between validations cannot become the best checkpoint.
            self._save(accuracy if due else None)

    def _local_signals(self) -> np.ndarray:
        """What this process asks for: a signal's number, and whether a checkpoint is due by the clock."""
        minutes = (time.monotonic() - self._saved_at) / 60
        # The end of a pipe's reader asks to stop as a signal does.
        number = self._signals.number or (SIGPIPE if self.console.closed else 0)
        return np.array([number, minutes > self.experiment.config.run.checkpoint_minutes])

    def _apply_signals(self, signals: Any) -> None:
        """Takes over what any of the processes asked for."""
        preempted_by, checkpoint_due = (int(value) for value in np.asarray(signals))
        self._preempted_by = preempted_by or self._preempted_by
        self._checkpoint_due = bool(checkpoint_due)

    def _raise_if_preempted(self) -> None:
        if self._preempted_by:
            self._save(None)
            self.checkpointer.wait()
            raise Preempted(self._preempted_by, self.step, self.folder.path)

    def _evaluation_due(self) -> bool:
        return self._validation_due() or self._test_due()

    def _validation_due(self) -> bool:
        return self._due(self.experiment.config.run.eval_every) or self.step == self._total_steps

    def _test_due(self) -> bool:
        every = self.experiment.config.run.test_every
        return bool(every) and self._due(every) and self.step not in self._watched

    def _due(self, every_epochs: int) -> bool:
        return self.step > 0 and self.step % (every_epochs * self._steps_per_epoch) == 0

    def _next_evaluation(self, step: int) -> int:
        """The first step after ``step`` with a validation or a test that is watched."""
        run, per_epoch = self.experiment.config.run, self._steps_per_epoch
        periods = [every * per_epoch for every in (run.eval_every, run.test_every) if every]
        following = min(step - step % period + period for period in periods)
        return min(following, self._total_steps) if step < self._total_steps else following

    def _size_changes(self) -> bool:
        """Whether the steps before were for small images and those that follow are not."""
        steps = self.experiment.steps
        return steps.small is not None and self.step == steps.small_until

    def _next_size(self, step: int) -> int:
        """The step from which on images have another size, if it is to come; the last one if not."""
        until = self.experiment.steps.small_until
        return until if step < until else self._total_steps

    @property
    def _steps_per_epoch(self) -> int:
        return self.experiment.data.steps_per_epoch

    @property
    def _total_steps(self) -> int:
        return self.experiment.data.total_steps

    def _validate(self, due: bool) -> float | None:
        """Accuracy on the validation set, which is recorded; only a validation that is due chooses."""
        if self.experiment.data.val is None:
            return None
        if self.step in self._validated:
            return self._validated[self.step]
        which = {} if due else {"which": STOPPED}
        variables = self.state.eval_variables
        result = self.evaluate(
            "val", "the validation loss", self.experiment.data.val, variables, self.step, **which
        )
        self.console.line(
            f"epoch {self.experiment.epoch(self.step):.2f}  step {self.step}  "
            f"validation loss {result.loss:.4f}  accuracy {result.accuracy:.2%}"
        )
        if due:
            self._validated[self.step] = result.accuracy
        return result.accuracy

    def _watch_test(self) -> None:
        """Evaluates on the test set for its curve alone."""
        test, variables = self.experiment.data.test, self.state.eval_variables
        result = self.evaluate("test", "the test loss", test, variables, self.step, which=WATCHED)
        epoch = self.step // self._steps_per_epoch
        self.console.line(f"[{epoch}] Test Loss: {result.loss:.4f}, Accuracy: {result.accuracy:.2%}")
        self._watched.add(self.step)

    def evaluate(
        self, kind: str, loss_name: str, split: Split, variables: dict[str, Any], step: int, **fields: str
    ) -> Evaluation:
        """Evaluates variables, and records it.

        Args:
            kind: "val" or "test".
            loss_name: What the loss is called in errors.
            split: The images.
            variables: ``{"params", "batch_stats"}``.
            step: The step they are of.
            **fields: More fields of the record.

        Raises:
            DivergedError: The loss is not finite.
            Preempted: A signal asked to stop.
        """
        with self.console.progress(f"{kind} (images)", len(split)) as show:

            def advance(images: int) -> None:
                show(images)
                self.stop_if_asked()

            size = self.experiment.config.run.eval_batch_size
            result = evaluate(self.experiment.steps.evaluate, variables, split, size, advance)
        if not math.isfinite(result.loss):
            raise diverged(self.experiment, step, loss_name, self.metrics.rate_factor)
        self.folder.log(
            {
                "kind": kind,
                **fields,
                "step": step,
                "epoch": self.experiment.epoch(step),
                "loss": result.loss,
                "accuracy": result.accuracy,
                "images": result.images,
                "seconds": self.seconds(),
            }
        )
        return result

    def _save(self, accuracy: float | None) -> None:
        try:
            self.checkpointer.save(
                self.state, self.experiment.metadata, accuracy, self.experiment.position(self.step)
            )
        except NonFiniteError as error:  # an update can overflow after a finite loss and gradient
            factor = self.metrics.rate_factor
            raise diverged(self.experiment, self.step, error.leaf, factor) from None
        self._saved_at = time.monotonic()
        self._checkpoint_due = False
