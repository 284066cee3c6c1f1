"""Checkpoints with orbax: a training run's, and single portable ones.

A checkpoint of step ``s`` is a folder ``<run>/checkpoints/<s>`` of these items: ``variables``
(``{"params", "batch_stats"}``), ``training`` (optimiser state, step and key), ``config`` (JSON) and ``data``
(JSON: where the stream of examples is). Reading the network back needs neither the optimiser nor the devices
that wrote it. Where training keeps a moving average, that is what ``variables`` has, and ``training`` has
those that training goes on from.
"""

import contextlib
import functools
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import jax
import orbax.checkpoint as ocp
from flax import linen as nn
from orbax.checkpoint import checkpoint_managers

from jax_resnet import manifest
from jax_resnet.models import create_model
from jax_resnet.parallel import from_first
from jax_resnet.train import TrainState

CHECKPOINTS = "checkpoints"


class CheckpointError(Exception):
    """A checkpoint that is not there or cannot be read; the message says which, and what would do."""


class Restored(NamedTuple):
    """A network and its weights.

    Attributes:
        model: As ``create_model`` made it.
        variables: ``{"params", "batch_stats"}``, on this process's first device.
        config: Everything the run was told, among it ``config["model"]``, the arguments of
            ``create_model``, and ``config["data"]``: ``mean``, ``std``, ``class_names``, ``image_shape``.
    """

    model: nn.Module
    variables: dict[str, Any]
    config: dict[str, Any]


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
                best_fn=_rank,  # Without it orbax writes no metrics; the policies decide what is kept.
                preservation_policy=policies.AnyPreservationPolicy(
                    [
                        policies.LatestN(2),
                        policies.BestN(get_metric_fn=_rank, n=1, keep_checkpoints_without_metrics=False),
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
            "variables": ocp.args.StandardSave(state.tested),
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
            like: A state of the same network and optimiser; its shardings are the result's.
            on_broken: Told the step of, and what is wrong with, each checkpoint passed over.

        Raises:
            CheckpointError: There are checkpoints, and none can be read.
        """
        steps, trouble = from_first(self.steps), ""
        for step in reversed(steps):
            try:
                if trouble := from_first(functools.partial(manifest.damage, self._folder / str(step))):
                    raise CheckpointError(trouble)
                items = self._manager.restore(
                    step,
                    args=ocp.args.Composite(
                        variables=ocp.args.StandardRestore(like.tested),
                        training=ocp.args.StandardRestore(_training(like)),
                    ),
                )
            except Exception as error:  # orbax and tensorstore raise many kinds
                trouble = _first_line(error)
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
            raise CheckpointError(f"{item} cannot be read: {_first_line(error)}") from error

    def wait(self) -> None:
        """Returns when everything saved is on disk."""
        self._manager.wait_until_finished()
        self._write_manifests()

    def _write_manifests(self) -> None:
        if jax.process_index() != 0:
            return
        for step in _complete(self._folder):
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


def save(path: str | os.PathLike[str], variables: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Writes one portable checkpoint, a folder that ``restore`` opens.

    Args:
        path: The folder; it must not exist.
        variables: ``{"params", "batch_stats"}``.
        config: At least ``config["model"]``, the arguments of ``create_model``, "name" among them.

    Raises:
        CheckpointError: ``path`` exists.
    """
    folder = Path(path).absolute()
    if folder.exists():
        raise CheckpointError(f"{folder} exists already: name a new folder")
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        checkpointer.save(
            folder,
            args=ocp.args.Composite(
                variables=ocp.args.StandardSave(dict(variables)), config=ocp.args.JsonSave(dict(config))
            ),
        )
    manifest.write(folder)


def restore(path: str | os.PathLike[str], which: Literal["best", "last"] | int = "best") -> Restored:
    """Reads a network back: on any device, without optimiser, training state or original topology.

    Args:
        path: A run's folder, or a folder that ``save`` wrote.
        which: Of a run's checkpoints: the best on the validation set (the last, where the run had none),
            the last, or the one of a step.

    Returns:
        The network, its variables and the run's config.

    Raises:
        CheckpointError: Nothing to read there, no such step, or a damaged file.
    """
    folder = _choose(Path(path).absolute(), which)
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    if trouble := manifest.damage(folder):
        raise CheckpointError(f"the checkpoint {folder} is damaged: {trouble}")
    try:
        config = ocp.JsonCheckpointHandler().restore(folder / "config")
        # Asked of the handler: a Checkpointer warns that an item is no whole checkpoint.
        written = ocp.StandardCheckpointHandler().metadata(folder / "variables").tree
        with ocp.StandardCheckpointer() as reader:
            like = jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), written
            )
            variables = reader.restore(folder / "variables", like)
    except Exception as error:  # orbax and tensorstore raise many kinds for a damaged file
        raise CheckpointError(f"the checkpoint {folder} cannot be read: {_first_line(error)}") from error
    return Restored(create_model(**config["model"]), {"batch_stats": {}, **variables}, config)


def _choose(path: Path, which: Literal["best", "last"] | int) -> Path:
    if (path / "variables").is_dir():
        return path
    folder = path if path.name == CHECKPOINTS else path / CHECKPOINTS
    if not folder.is_dir():
        raise CheckpointError(f"{path} holds no checkpoint: name a run's folder, or one that was exported")
    steps = _complete(folder)
    if not steps:
        raise CheckpointError(f"{folder} holds no complete checkpoint")
    if which == "best":
        metrics = {step: folder / str(step) / "metrics" / "metrics" for step in steps}
        ranks = {step: _rank(json.loads(file.read_text())) for step, file in metrics.items() if file.exists()}
        return folder / str(max(ranks, key=ranks.__getitem__) if ranks else steps[-1])
    if which == "last":
        return folder / str(steps[-1])
    if which not in steps:
        raise CheckpointError(f"{folder} has no step {which!r}: there are {', '.join(map(str, steps))}")
    return folder / str(which)


def _complete(folder: Path) -> list[int]:
    folders = [step for step in folder.iterdir() if step.name.isdigit()]
    return sorted(int(step.name) for step in folders if ocp.utils.is_checkpoint_finalized(step))


def _rank(metrics: Mapping[str, Any]) -> tuple[float, int]:
    # Of equals the earliest, so that the choice does not hang on what has been deleted since.
    return metrics["accuracy"], -metrics["step"]


def _training(state: TrainState) -> dict[str, Any]:
    items = {"step": state.step, "opt_state": state.opt_state, "key": jax.random.key_data(state.key)}
    return items if state.average is None else {**items, "moving": state.variables}


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".split(" See full")[0].splitlines()[0][:300]
