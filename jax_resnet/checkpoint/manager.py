"""A training run's checkpoints: written in the background, the last two and the best kept."""

import contextlib
import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from jax_resnet.checkpoint import manifest
from jax_resnet.checkpoint.steps import CHECKPOINTS, complete_steps, orbax_message, rank
from jax_resnet.errors import CheckpointError
from jax_resnet.parallel import broadcast_from_primary
from jax_resnet.train import TrainState


class Checkpointer:
    """Writes a run's checkpoints in the background; keeps the last two and the best.

    All processes of a run take part in all of it, each writing and reading what is on its devices: the folder
    is one that all of them see. What is read goes to whatever devices there are then.

    The best is the one of highest validation accuracy, the earliest of equals.
    """

    def __init__(self, run: str | os.PathLike[str]) -> None:
        """Opens ``run/checkpoints``, which is made on the first save."""
        policies = checkpoint_managers
        self._folder = Path(run).absolute() / CHECKPOINTS
        self._manager = ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                best_fn=rank,  # Without it orbax writes no metrics; the policies decide what is kept.
                preservation_policy=policies.AnyPreservationPolicy(
                    [
                        policies.LatestN(2),
                        policies.BestN(get_metric_fn=rank, n=1, keep_checkpoints_without_metrics=False),
                    ]
                ),
            ),
        )

    def steps(self) -> list[int]:
        """Steps of the complete checkpoints, ascending."""
        return sorted(self._manager.all_steps())

    def save(
        self,
        state: TrainState,
        config: Mapping[str, Any],
        accuracy: float | None = None,
        position: Mapping[str, Any] | None = None,
    ) -> None:
        """Saves the state under its step unless that is saved already, and as well described.

        Args:
            state: What to save; it may be donated once this returns.
            config: Everything the run was told, as JSON can hold it.
            accuracy: On the validation set, where there is one.
            position: Where the stream of examples is, as JSON can hold it.
        """
        step = int(state.step)
        if step in self.steps():
            if accuracy is None or self._manager.metrics(step):
                return
            self._manager.delete(step)  # without its accuracy it would not be kept as the best
        metrics = None if accuracy is None else {"accuracy": accuracy, "step": step}
        items = {
            "variables": ocp.args.StandardSave(state.eval_variables),
            "training": ocp.args.StandardSave(_training(state)),
            "config": ocp.args.JsonSave(dict(config)),
        }
        if position is not None:
            items["data"] = ocp.args.JsonSave(dict(position))
        self._manager.save(step, args=ocp.args.Composite(**items), metrics=metrics)
        self._write_manifests()  # of those before: this one is still on its way

    def restore(
        self, like: TrainState, on_broken: Callable[[int, str], None] | None = None
    ) -> TrainState | None:
        """The newest state that can be read, laid out as ``like``; None where there is none at all.

        Those newer, which cannot be read, are deleted: they would stand in the way of what comes next.

        Args:
            like: A state of the same network and optimizer; its shardings are the result's.
            on_broken: Told the step of, and what is wrong with, each checkpoint passed over.

        Raises:
            CheckpointError: There are checkpoints, and none can be read.
        """
        steps, trouble = broadcast_from_primary(self.steps), ""
        for step in reversed(steps):
            try:
                check = functools.partial(manifest.damage, self._folder / str(step))
                if trouble := broadcast_from_primary(check):
                    raise CheckpointError(trouble)
                items = self._manager.restore(
                    step,
                    args=ocp.args.Composite(
                        variables=ocp.args.StandardRestore(like.eval_variables),
                        training=ocp.args.StandardRestore(_training(like)),
                    ),
                )
            except Exception as error:  # orbax and tensorstore raise many kinds
                trouble = orbax_message(error)
                if on_broken is not None:
                    on_broken(step, trouble)
                continue
            for broken in steps[steps.index(step) + 1 :]:
                self._manager.delete(broken)
            training = dict(items["training"])
            key = jax.random.wrap_key_data(training.pop("key"))
            if like.average is not None:
                like = like.replace(average=items["variables"])
                return like.replace(**training.pop("moving"), **training, key=key)
            return like.replace(**items["variables"], **training, key=key)
        if steps:
            raise CheckpointError(f"none of the checkpoints {steps} can be read: {trouble}")
        return None

    def position(self, step: int) -> dict[str, Any] | None:
        """Where the stream of examples was at a step; None where the checkpoint does not tell.

        Raises:
            CheckpointError: It cannot be read.
        """
        item = self._folder / str(step) / "data"
        if not item.exists():
            return None
        try:
            return ocp.JsonCheckpointHandler().restore(item)
        except Exception as error:  # orbax raises many kinds for a damaged file
            raise CheckpointError(f"{item} cannot be read: {orbax_message(error)}") from error

    def wait(self) -> None:
        """Returns when everything saved is on disk."""
        self._manager.wait_until_finished()
        self._write_manifests()

    def _write_manifests(self) -> None:
        if jax.process_index() != 0:
            return
        for step in complete_steps(self._folder):
            folder = self._folder / str(step)
            if not (folder / manifest.NAME).exists():
                with contextlib.suppress(FileNotFoundError):  # deleted meanwhile, as no longer wanted
                    manifest.write(folder)

    def close(self) -> None:
        """Waits, and releases the folder."""
        self.wait()
        self._manager.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        # After an error other processes may be gone, and to wait would be to wait for them.
        if kind is None or jax.process_count() == 1:
            self.close()


def _training(state: TrainState) -> dict[str, Any]:
    items = {"step": state.step, "opt_state": state.opt_state, "key": jax.random.key_data(state.key)}
    return items if state.average is None else {**items, "moving": state.variables}
