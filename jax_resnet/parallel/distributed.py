"""Start and end of a run of many processes, on JAX's own distributed runtime."""

import re
import socket
import time

import jax

# Seconds. A process that is gone is noticed at once where its connections close, by its heartbeat else.
HEARTBEAT = 30
STARTING = 120
ENDING = 20

# What the runtime says, in many ways and classes, where another process does not answer.
_LOST = re.compile(
    r"gloo|connection (closed|reset|refused)|socket closed|broken pipe|coordination service|"
    r"another task|peer|barrier|deadline exceeded|unavailable:|heartbeat|nccl",
    re.IGNORECASE,
)


class ProcessLostError(Exception):
    """Another process of the run is gone, and with it what it held."""


def initialize(
    coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> None:
    """Joins the processes of a run; to be called before anything else of JAX that looks for devices.

    Args:
        coordinator: ``HOST:PORT`` at which process 0 listens. None, as the others then, where JAX finds out
            by itself: under Slurm, Open MPI or Kubernetes, and on TPUs.
        num_processes: How many there are.
        process_id: Which this is, from 0.

    Raises:
        RuntimeError: Nobody listened there for two minutes, or JAX cannot tell who they are. (Where process 0
            waits in vain for the others, the runtime itself ends the program.)
        ValueError: Likewise.
    """
    if coordinator is not None and process_id:
        _wait_for(coordinator)  # here, because the runtime would end the program with a stack trace
    jax.distributed.initialize(
        coordinator,
        num_processes,
        process_id,
        initialization_timeout=STARTING,
        heartbeat_timeout_seconds=HEARTBEAT,
        shutdown_timeout_seconds=ENDING,
    )


def _wait_for(coordinator: str) -> None:
    host, _, port = coordinator.rpartition(":")
    deadline = time.monotonic() + STARTING
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() > deadline:
                trouble = error.strerror or str(error)
                raise RuntimeError(f"process 0 does not answer there ({trouble})") from None
        time.sleep(0.2)


def shutdown() -> None:
    """Leaves the run, when all others do; does nothing where there are none."""
    if jax.distributed.is_initialized():
        jax.distributed.shutdown()


def lost_process(error: BaseException) -> bool:
    """Whether an error of the runtime means that another process is gone."""
    if not jax.distributed.is_initialized() or jax.process_count() == 1:
        return False
    of_runtime = isinstance(error, jax.errors.JaxRuntimeError | ValueError | RuntimeError)
    return of_runtime and _LOST.search(str(error)) is not None
