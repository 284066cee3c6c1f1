"""How the steps are spread over devices: by jit, by shard_map or by pmap."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jax_resnet.parallel.mesh import DATA, place, place_rows, replicated, row_spec, shardings_of
from jax_resnet.train import Batch, EvalStep, TrainState, TrainStep

Mode = Literal["jit", "shard_map", "pmap"]


@dataclasses.dataclass(frozen=True)
class Plan:
    """Where state and batches lie, and what makes a parallel program of a step.

    Every way computes the same: ``jit`` has the compiler part one program for the global batch, in
    ``shard_map`` and ``pmap`` each device runs the step on its rows and says where to communicate.

    Attributes:
        mesh: See ``data_mesh``.
        mode: The way.
        shard_params: Give each device a part of parameters and optimizer state, instead of all; by ``jit``.
    """

    mesh: Mesh
    mode: Mode = "jit"
    shard_params: bool = False

    def __post_init__(self) -> None:
        if self.shard_params and self.mode != "jit":
            raise ValueError(f"parameters are sharded by jit, not by {self.mode}")

    @property
    def axis_name(self) -> str | None:
        """What ``make_train_step`` and ``make_eval_step`` are to be told."""
        return None if self.mode == "jit" else DATA

    def place(self, tree: Any) -> Any:
        """Puts a state, or variables, that every process has in full on the devices."""
        return place(tree, shardings_of(tree, self.mesh, shard=self.shard_params))

    def train_step(self, step: TrainStep, state: TrainState) -> TrainStep:
        """Compiles a step; it takes the state that ``place`` placed, and donates it.

        Args:
            step: Made with this plan's ``axis_name``.
            state: Of the shapes that the step will see.

        Returns:
            The step, from the state and this process's rows of the global batch, in NumPy.
        """
        return self._training(step, state)

    def train_steps(self, steps: TrainStep, state: TrainState) -> TrainStep:
        """Compiles what ``make_train_steps`` made, as ``train_step`` does one step.

        Raises:
            ValueError: The mode is pmap.
        """
        if self.mode == "pmap":
            raise ValueError("several steps at once run by jit or shard_map, not by pmap")
        return self._training(steps, state, rows=1)

    def eval_step(self, step: EvalStep) -> EvalStep:
        """Compiles an evaluation; every process gets the logits of the whole global batch."""
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
