"""How steps run over several devices: by jit, by shard_map or by pmap."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, get_args

import jax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jax_resnet.errors import TrainError
from jax_resnet.parallel.mesh import DATA, place, place_rows, replicated, row_spec, shardings_of
from jax_resnet.train import Batch, EvalStep, TrainState, TrainStep

__all__ = ["Mode", "Plan"]

Mode = Literal["jit", "shard_map", "pmap"]


@dataclasses.dataclass(frozen=True)
class Plan:
    """Layout of state and batches over devices, and the compiled parallel steps.

    Every mode computes the same. With ``jit`` the compiler splits one program for the global batch; with
    ``shard_map`` and ``pmap`` each device runs the step on its rows, and the step says where to communicate.

    Attributes:
        mesh: See ``data_mesh``.
        mode: "jit", "shard_map" or "pmap".
        shard_params: Each device holds a part of parameters and optimizer state instead of all of them;
            with "jit" only.

    Raises:
        TrainError: An unknown mode, or ``shard_params`` with another mode than "jit".
    """

    mesh: Mesh
    mode: Mode = "jit"
    shard_params: bool = False

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise TrainError(f"mode is one of {', '.join(get_args(Mode))}, not {self.mode!r}")
        if self.shard_params and self.mode != "jit":
            raise TrainError(f"parameters are sharded by jit, not by {self.mode}")

    @property
    def axis_name(self) -> str | None:
        """The argument ``axis_name`` of ``make_train_step`` and ``make_eval_step``."""
        return None if self.mode == "jit" else DATA

    def place(self, tree: Any) -> Any:
        """Puts a state or variables on the devices, from full copies in every process."""
        return place(tree, shardings_of(tree, self.mesh, shard=self.shard_params))

    def train_step(self, step: TrainStep, state: TrainState) -> TrainStep:
        """Compiles a training step.

        Args:
            step: The step, made with this plan's ``axis_name``.
            state: A state, or its shapes, like those that the step will take.

        Returns:
            The step. It takes a state from ``place``, which it donates, and this process's rows of the
            global batch as NumPy arrays.
        """
        return self._training(step, state)

    def train_steps(self, steps: TrainStep, state: TrainState) -> TrainStep:
        """Compiles several steps of one dispatch, from ``make_train_steps``; see ``train_step``.

        Raises:
            TrainError: The mode is pmap.
        """
        if self.mode == "pmap":
            raise TrainError("several steps at once run by jit or shard_map, not by pmap")
        return self._training(steps, state, rows=1)

    def eval_step(self, step: EvalStep) -> EvalStep:
        """Compiles an evaluation step; every process gets the logits of the whole global batch."""
        return self._parallel(step, NamedSharding(self.mesh, P()))

    def _training(self, step: Callable, state: TrainState, rows: int = 0) -> Callable:
        kept = shardings_of(state, self.mesh, shard=self.shard_params)
        return self._parallel(step, (kept, NamedSharding(self.mesh, P())), rows, donate_argnums=0)

    def _parallel(self, step: Callable, shardings: Any, rows: int = 0, **options: Any) -> Callable:
        if self.mode == "pmap":
            mapped = jax.pmap(
                step,
                DATA,
                in_axes=(None, 0),
                out_axes=None,
                devices=list(self.mesh.devices.flat),
                **options,
            )
            count = len(self.mesh.local_devices)

            def run(state: Any, batch: Batch) -> Any:
                parts = jax.tree.map(lambda x: x.reshape(count, -1, *x.shape[1:]), dict(batch))
                return replicated(mapped(state, parts), self.mesh)

            return run
        if self.mode == "shard_map":
            step = jax.shard_map(
                step, mesh=self.mesh, in_specs=(P(), row_spec(rows)), out_specs=P(), check_vma=False
            )
        jitted = jax.jit(step, out_shardings=shardings, **options)
        return lambda state, batch: jitted(state, place_rows(dict(batch), self.mesh, rows))
