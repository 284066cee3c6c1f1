"""The settings of a run over many devices and processes."""

import dataclasses
from typing import Literal

from experiments.program.errors import ConfigError
from experiments.settings.fields import setting
from jax_resnet._text import host_and_port

__all__ = ["ParallelConfig"]


@dataclasses.dataclass(frozen=True)
class ParallelConfig:
    """Many devices and processes."""

    parallel: Literal["auto", "jit", "shard_map", "pmap"] = setting(
        "auto", "How the step is spread over devices; all give the same training.", may_change=True
    )
    bn: Literal["global", "per-device"] = setting(
        "global", "BatchNorm statistics in training: of the whole batch, or of each device's part."
    )
    shard_params: bool = setting(
        False, "Split parameters and optimizer state over the devices (FSDP).", may_change=True
    )
    accumulate: int = setting(
        1, "Parts of a batch processed one after another; each has its own BatchNorm statistics.", above=0
    )
    steps_per_dispatch: int = setting(
        1, "Steps an accelerator runs in one program before it needs new batches; 1 on CPU.", above=0
    )
    remat: bool = setting(
        False, "Recompute activations in the backward pass instead of keeping them.", may_change=True
    )
    threads: int | None = setting(
        None,
        "Threads to compute with on CPU (default: one per core): fewer where other programs run; another "
        "number may round otherwise.",
        above=0,
        at_most=4096,
        may_change=True,
    )
    coordinator: str | None = setting(
        None,
        "Address of process 0; auto under Slurm, MPI, Kubernetes and on TPUs.",
        may_change=True,
        metavar="HOST:PORT",
    )
    num_processes: int | None = setting(
        None, "With --coordinator HOST:PORT: number of processes.", above=0, may_change=True
    )
    process_id: int | None = setting(
        None, "With --coordinator HOST:PORT: number of this process, from 0.", at_least=0, may_change=True
    )

    def check(self) -> None:
        """Checks settings that exclude each other.

        Raises:
            ConfigError: Naming the flags.
        """
        if self.steps_per_dispatch > 1 and self.parallel == "pmap":
            raise ConfigError("--steps-per-dispatch goes with --parallel jit or shard_map")
        if self.bn == "per-device" and self.parallel == "jit":
            raise ConfigError("--parallel jit sees the whole batch: --bn per-device needs shard_map or pmap")
        if self.shard_params and (self.parallel in ("shard_map", "pmap") or self.bn == "per-device"):
            raise ConfigError("--shard-params goes with --parallel jit and --bn global alone")
        count, index = self.num_processes, self.process_id
        if self.coordinator in (None, "auto"):
            if count is not None or index is not None:
                raise ConfigError("--num-processes and --process-id need --coordinator HOST:PORT")
            return
        try:
            host_and_port(self.coordinator)
        except ValueError:
            raise ConfigError(f"--coordinator is HOST:PORT or auto, not {self.coordinator}") from None
        if count is None or index is None:
            raise ConfigError("--coordinator HOST:PORT needs --num-processes and --process-id")
        if not 0 <= index < count:
            raise ConfigError(f"--process-id is 0 to {count - 1}, of --num-processes {count}, not {index}")
