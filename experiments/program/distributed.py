"""Joining the other processes of a run, and leaving them. Imports jax only when it runs."""

import contextlib
import os
import sys
import traceback

from experiments.program.errors import ConfigError, ExperimentError, Interrupted, print_error
from jax_resnet._text import first_line

__all__ = ["LOST", "LOST_CODE", "exit_distributed", "init_distributed"]

# Exit code of a process that ends because another did: the cause is to be found there.
LOST_CODE = 75
LOST = "another process of this run has ended; --resume continues from the last checkpoint"


def init_distributed(coordinator: str | None, num_processes: int | None, process_id: int | None) -> int:
    """Joins the other processes of the run, where there are any.

    Args:
        coordinator: ``HOST:PORT`` of process 0, ``auto`` where the cluster tells, None for a single process.
        num_processes: Number of processes, with ``HOST:PORT``.
        process_id: Number of this process, with ``HOST:PORT``.

    Returns:
        The number of this process, from 0.

    Raises:
        ExperimentError: The others were not found.
    """
    import jax

    from jax_resnet import parallel

    if coordinator and not jax.distributed.is_initialized():
        by_flags = coordinator != "auto"
        try:
            parallel.initialize(coordinator if by_flags else None, num_processes, process_id)
        except (RuntimeError, ValueError) as error:
            reason = first_line(error)
            if not by_flags:
                reason += (
                    " JAX finds no cluster here (Slurm, MPI, Kubernetes, TPU): name one by --coordinator "
                    "HOST:PORT --num-processes N --process-id I"
                )
            raise ExperimentError(f"--coordinator {coordinator}: {reason}") from None
    try:
        return jax.process_index()
    except RuntimeError as error:
        raise ExperimentError(
            f"JAX finds no device to compute on: {first_line(error)} (python -m experiments.doctor says more)"
        ) from None


def exit_distributed(error: BaseException, message: str | None, code: int | None) -> None:
    """Ends this process of several after an error, so that the others end as well; returns if it is alone.

    Args:
        error: The error.
        message: It in one line.
        code: The exit code; None for a defect of the program.
    """
    if "jax" not in sys.modules:
        return
    import jax

    from jax_resnet import parallel

    try:
        alone = not jax.distributed.is_initialized() or jax.process_count() == 1
    except RuntimeError:
        # No device, which may be the error itself; the other processes are there all the same.
        print_error(message or str(error))
        os._exit(code or 1)
    if alone:
        return
    if parallel.lost_process(error):
        message, code = LOST, LOST_CODE
    elif code is None:
        with contextlib.suppress(OSError):
            traceback.print_exception(error)
        code = 1
    else:
        shared = isinstance(error, ConfigError | ExperimentError | Interrupted)
        if shared and jax.process_index() > 0:  # process 0 prints it
            message = None
        if message:
            print_error(message)
            message = None
        if shared:
            parallel.shutdown()
    if message:
        print_error(message)
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    # Not sys.exit: that would wait for processes which may be waiting for this one.
    os._exit(code)
