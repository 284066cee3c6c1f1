"""Joining the other processes of a run, and leaving them."""

import os
import sys
import traceback
from typing import TYPE_CHECKING

from experiments.program.errors import ConfigError, ExperimentError, Preempted

if TYPE_CHECKING:  # for start.py: nothing here may import jax before it runs
    from experiments.program.console import Console
    from experiments.settings.config import ParallelConfig

# What a process exits with that ends because another did: the cause is to be looked for there.
LOST_CODE = 75
LOST = "another process of this run has ended; --resume continues from the last checkpoint"


def init_distributed(config: "ParallelConfig") -> "Console":
    """Joins the processes of the run, where there are others; only process 0 says anything from then on.

    Raises:
        ConfigError: A setting that cannot be.
        ExperimentError: The others were not found.
    """
    import jax

    from experiments.program.console import Console
    from jax_resnet import parallel

    config.check()
    if config.coordinator and not jax.distributed.is_initialized():
        by_flags = config.coordinator != "auto"
        try:
            parallel.initialize(
                config.coordinator if by_flags else None, config.num_processes, config.process_id
            )
        except (RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            if not by_flags:
                reason += (
                    " JAX finds no cluster here (Slurm, MPI, Kubernetes, TPU): --coordinator HOST:PORT "
                    "--num-processes N --process-id I tells it"
                )
            raise ExperimentError(f"--coordinator {config.coordinator}: {reason}") from None
    return Console(quiet=jax.process_index() > 0)


def exit_distributed(error: BaseException, message: str | None, code: int | None) -> None:
    """Ends this process of several after an error, so that the others end as well; returns if it is alone.

    Args:
        error: What went wrong.
        message: The error in a line, for a person.
        code: What the shell is told; None for a defect of the program.
    """
    if "jax" not in sys.modules:
        return
    import jax

    from jax_resnet import parallel

    if not jax.distributed.is_initialized() or jax.process_count() == 1:
        return
    if parallel.lost_process(error):
        message, code = LOST, LOST_CODE
    elif code is None:
        traceback.print_exception(error)
        code = 1
    else:
        shared = isinstance(error, ConfigError | ExperimentError | Preempted)
        if shared and jax.process_index() > 0:  # process 0 says it
            message = None
        if message:
            print(f"error: {message}", file=sys.stderr, flush=True)
            message = None
        if shared:
            parallel.shutdown()
    if message:
        print(f"error: {message}", file=sys.stderr, flush=True)
    sys.stdout.flush()
    # Not sys.exit: that would wait for processes which may be waiting for this one.
    os._exit(code)
