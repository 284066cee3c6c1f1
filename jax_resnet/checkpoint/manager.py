"""A training run's checkpoints: written in the background, the last two and the best kept."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

import jax
import orbax.checkpoint as ocp

from jax_resnet import _files
from jax_resnet._files import why_not_written
from jax_resnet.checkpoint import items, manifest
from jax_resnet.checkpoint import training as training_item
from jax_resnet.checkpoint.finite import check_finite
from jax_resnet.checkpoint.quiet import quiet_orbax
from jax_resnet.checkpoint.retention import LastTwoAndBest
from jax_resnet.checkpoint.steps import (
    CHECKPOINTS,
    TRASH,
    accuracies,
    complete_steps,
    empty_trash,
    remove_leftovers,
    set_aside,
)
from jax_resnet.checkpoint.writing import VerifiedPath, clean_up, json_text
from jax_resnet.errors import CheckpointError
from jax_resnet.parallel.collectives import broadcast_from_primary
from jax_resnet.parallel.distributed import lost_process
from jax_resnet.train import TrainState

__all__ = ["Checkpointer"]


class Checkpointer:
    """Writes a run's checkpoints in the background; keeps the last two and the best.

    The best is the one of highest validation accuracy, the earliest of equals.

    Every process of a run calls every method. Each process writes and reads the parts of the state that are
    on its devices, in one folder that all processes see. A checkpoint is restored to whatever devices there
    are then. One ``Checkpointer`` owns a folder at a time: opening another one removes what looks like the
    leftovers of killed saves. To only read a network, call ``restore``, which changes nothing.
    """

    def __init__(self, run: str | os.PathLike[str]) -> None:
        """Opens ``run/checkpoints``, creates it if needed and removes leftovers of killed saves.

        Raises:
            CheckpointError: The folder cannot be created or read, or ``run`` is a URL.
        """
        quiet_orbax()
        self._folder = items.local_folder(run) / CHECKPOINTS
        known = broadcast_from_primary(self._prepare, errors=(CheckpointError,))
        self._accuracies: dict[int, float] = dict(known)
        self._manager = self._open()

    def steps(self) -> list[int]:
        """Steps of the complete checkpoints, ascending."""
        return sorted(self._manager.all_steps())

    def accuracies(self) -> dict[int, float]:
        """Validation accuracy by step, of the checkpoints that have one."""
        steps = self.steps()
        return {step: value for step, value in self._accuracies.items() if step in steps}

    def save(
        self,
        state: TrainState,
        config: Mapping[str, Any],
        accuracy: float | None = None,
        position: Mapping[str, Any] | None = None,
    ) -> None:
        """Saves the state under its step; to a step that is saved already it only adds a missing accuracy.

        Args:
            state: The state to save; it may be donated as soon as this returns.
            config: What the network and the run were built from, as JSON can hold it; at least
                ``config["model"]``, the arguments of ``create_model``.
            accuracy: Accuracy on the validation set, if there is one.
            position: Position in the stream of examples, as JSON can hold it.

        Raises:
            NonFiniteError: Parameters, BatchNorm statistics or the moving average hold NaN or infinity.
            CheckpointError: This save or the one before could not be written, for example to a full disk; the
                earlier checkpoints are kept. Or a later step is saved already.
        """
        step = int(state.step)
        check_finite({**state.variables, "average": state.average or {}}, step)
        if step in self.steps():
            if accuracy is not None and step not in self._accuracies:
                self._add_accuracy(step, accuracy)
            return
        for name, content in (("config", config), ("position", position), ("accuracy", accuracy)):
            json_text(name, content)
        metrics = None if accuracy is None else {"accuracy": accuracy, "step": step}
        written = {
            items.STATE: ocp.args.StandardSave(state.eval_variables),
            items.TRAINING: ocp.args.StandardSave(training_item.pack(state)),
            items.CONFIG: ocp.args.JsonSave(dict(config)),
        }
        if position is not None:
            written[items.DATA] = ocp.args.JsonSave(dict(position))
        with self._writing(step):
            self._finish()
            if accuracy is not None:
                self._accuracies[step] = accuracy
            saved = self._manager.save(
                step,
                args=ocp.args.Composite(**written),
                metrics=metrics,
                custom_metadata=training_item.notes(state),
            )
        if not saved:
            self._accuracies.pop(step, None)
            raise CheckpointError(
                f"step {step} is not saved: {self._folder} holds step {self.steps()[-1]} already"
            )

    def restore(
        self, like: TrainState, on_broken: Callable[[int, str], None] | None = None
    ) -> TrainState | None:
        """Restores the newest state that can be read, laid out as ``like``; None if there is no checkpoint.

        Newer checkpoints would be in the way of the next saves: those whose checksums prove them damaged are
        deleted, others that cannot be read, this time at least, get the name ``STEP.unreadable``.

        Args:
            like: A state of the same network and optimizer; the result has its shardings.
            on_broken: Called with step and reason of each checkpoint that is passed over.

        Raises:
            CheckpointError: There are checkpoints, and none can be read; or one that is whole cannot be
                restored, be it for want of memory or as a state of another network.
        """
        steps, reason, proven = broadcast_from_primary(self.steps), "", {}
        for step in reversed(steps):
            reason, proven[step] = self._inspect(step)
            if not reason:
                try:
                    state = training_item.restore(self._folder / str(step), like)
                except Exception as error:  # orbax and tensorstore raise many kinds
                    if lost_process(error):
                        raise
                    raise CheckpointError(
                        f"the checkpoint {self._folder / str(step)} is whole, but cannot be restored: "
                        f"{items.orbax_message(error)}"
                    ) from error
                later = [other for other in steps if other > step]
                self._set_aside([other for other in later if not proven[other]])
                self._delete([other for other in later if proven[other]])
                return state
            if on_broken is not None:
                on_broken(step, reason)
        if steps:
            raise CheckpointError(f"none of the checkpoints {steps} can be read: {reason}")
        return None

    def damaged(self) -> dict[int, str]:
        """Step and reason of every checkpoint that is damaged.

        Every file is read and compared with its checksum, which takes about as long as reading the folder.
        A checkpoint without checksums is restored once, and gets checksums if that succeeds.
        """
        steps = broadcast_from_primary(self.steps)
        return {step: reason for step in steps if (reason := self._inspect(step)[0])}

    def position(self, step: int) -> dict[str, Any] | None:
        """The position in the stream of examples at a step; None if the checkpoint has none.

        Raises:
            CheckpointError: It cannot be read.
        """
        if not (self._folder / str(step) / items.DATA).exists():
            return None
        return self._json(step, items.DATA)

    def config(self, step: int) -> dict[str, Any]:
        """The config that the checkpoint of a step was saved with.

        Raises:
            CheckpointError: It cannot be read.
        """
        return self._json(step, items.CONFIG)

    def wait(self) -> None:
        """Returns when everything saved is on disk.

        Raises:
            CheckpointError: The last save could not be written; earlier checkpoints are kept.
        """
        with self._writing():
            self._finish()

    def close(self) -> None:
        """Waits, and releases the folder.

        Raises:
            CheckpointError: See ``wait``.
        """
        try:
            self.wait()
        finally:
            self._manager.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            self.close()
        elif jax.process_count() == 1:
            with contextlib.suppress(CheckpointError):  # the error that ends the block is the one to report
                self.close()
        # In a run of several processes the others may be gone after an error: waiting could wait for them.

    def _prepare(self) -> list[tuple[int, float]]:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(self._folder)
            return list(accuracies(self._folder).items())
        except OSError as error:
            raise CheckpointError(f"{self._folder} cannot be opened: {why_not_written(error)}") from None

    def _open(self) -> ocp.CheckpointManager:
        return ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                best_fn=lambda metrics: metrics["accuracy"],  # without it orbax writes no metrics
                preservation_policy=LastTwoAndBest(self._accuracies),
                temporary_path_class=VerifiedPath,
                todelete_subdir=TRASH,
                lightweight_initialize=True,  # else orbax reads files before anybody has checked them
            ),
        )

    def _finish(self) -> None:
        """Waits for the save that is going on, and deletes what it replaced.

        orbax's save moves it to the trash. Emptied before the next save begins, the trash never adds to the
        most that a run takes on the disk.
        """
        self._manager.wait_until_finished()
        if jax.process_index() == 0:
            empty_trash(self._folder)

    @contextlib.contextmanager
    def _writing(self, step: int | None = None) -> Iterator[None]:
        """Turns what orbax raises into one error, after which everything saved before is as it was."""
        try:
            yield
        except Exception as error:  # orbax and tensorstore raise many kinds
            if lost_process(error):
                raise
            if (
                jax.process_count() == 1
            ):  # of several processes only one may have failed: no waiting for others
                self._reopen()
            kept = ", ".join(map(str, complete_steps(self._folder))) or "none"
            what = (
                "the last checkpoint" if step is None else f"the checkpoint of step {step} or the one before"
            )
            raise CheckpointError(
                f"{what} cannot be written to {self._folder}: {why_not_written(error)} (steps kept: {kept})"
            ) from error

    def _reopen(self) -> None:
        """Starts anew after a failed save: orbax no longer counts what that save was going to replace."""
        with contextlib.suppress(Exception):  # the error is known already
            self._manager.close()
        clean_up(self._folder)
        for unsaved in set(self._accuracies) - set(complete_steps(self._folder)):
            del self._accuracies[unsaved]
        self._manager = self._open()

    def _inspect(self, step: int) -> tuple[str, bool]:
        """What is wrong with a checkpoint, or nothing, and whether its checksums prove it.

        One with which something is wrong no longer counts as the best.
        """
        folder = self._folder / str(step)

        def compare() -> list[Any]:
            try:
                trouble = manifest.find_damage(folder)
            except OSError:
                return [True, manifest.damage(folder), False]
            # Where the manifest itself is damaged, or lacks a file, what it lists may be whole.
            return [manifest.exists(folder), trouble, not trouble.startswith(manifest.NAME)]

        listed, reason, proven = broadcast_from_primary(compare)
        if not listed:
            proven = False
            # In all processes, because orbax makes them wait for one another.
            unread = items.read_whole(folder)
            reason = broadcast_from_primary(lambda: unread)
            if not reason and jax.process_index() == 0:
                with contextlib.suppress(OSError):  # a folder that cannot be written can still be read
                    manifest.write(folder)
        if reason:
            self._accuracies.pop(step, None)
        return str(reason), bool(proven)

    def _add_accuracy(self, step: int, value: float) -> None:
        """Writes the accuracy of a step that was saved before it was known."""
        text = json_text("accuracy", {"accuracy": value, "step": step})  # before anything is written
        self.wait()
        folder = self._folder / str(step)
        with self._writing(step):
            if jax.process_index() == 0:
                (folder / items.METRICS).mkdir(exist_ok=True)
                _files.write_text(folder / items.METRICS / "metrics", text)
                manifest.add(folder, f"{items.METRICS}/metrics")
        self._accuracies[step] = value
        kept = LastTwoAndBest(self._accuracies).keep(self.steps())
        self._delete([other for other in self.steps() if other not in kept])

    def _set_aside(self, steps: Sequence[int]) -> None:
        """Gives checkpoints, which may be whole, names that are none of a step.

        Raises:
            CheckpointError: One cannot be renamed.
        """

        def rename() -> None:
            for step in steps:
                try:
                    set_aside(self._folder, step)
                except OSError as error:
                    folder, trouble = self._folder / str(step), why_not_written(error)
                    raise CheckpointError(f"{folder} cannot be renamed: {trouble}") from None

        if steps:
            broadcast_from_primary(rename, errors=(CheckpointError,))
            self._manager.close()
            self._manager = self._open()  # its own reload reads files that nobody has checked

    def _delete(self, steps: Sequence[int]) -> None:
        for step in steps:
            with self._writing(step):
                self._manager.delete(step)
                self._finish()
            self._accuracies.pop(step, None)

    def _json(self, step: int, item: str) -> dict[str, Any]:
        folder = self._folder / str(step)
        try:
            return items.read_json(folder, item)
        except CheckpointError as error:
            raise CheckpointError(f"{folder}: {error}") from None
