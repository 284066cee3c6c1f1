"""Start and end of a run of several processes, on JAX's own distributed runtime."""

import re
import socket
import time

import jax

from jax_resnet._text import host_and_port

__all__ = ["initialize", "lost_process", "shutdown"]

# Seconds. A lost process is noticed at once where its connections close, else by its missing heartbeat.
HEARTBEAT = 30
STARTING = 120
ENDING = 20

# A collective operation whose other end is gone, under any status code: Gloo on CPU, NCCL on GPU.
_COLLECTIVE = re.compile(
    r"[A-Z_]+: (?:[\w ]+: )*?(?:"
    r"Gloo \S+ failed: .*(?:Connection (?:closed|reset) by peer|Broken pipe|Connection refused|[Tt]imed out)|"
    r"NCCL operation \S+ failed: (?:remote process exited|unhandled system error))"
)
# The coordination service reports a task without heartbeat, or cannot be reached itself.
_COORDINATION = re.compile(
    r"(?:UNAVAILABLE|DEADLINE_EXCEEDED): |"
    r"[A-Z_]+: Barrier failed because: task is set to ERROR: (?:UNAVAILABLE|ABORTED|INTERNAL): "
)


def initialize(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    timeout: float = STARTING,
) -> None:
    """Joins the processes of a run; call it before anything else of JAX that looks for devices.

    Args:
        coordinator: ``HOST:PORT`` at which process 0 listens. None, with the next two, where JAX finds the
            processes by itself: under Slurm, Open MPI or Kubernetes, and on TPUs.
        num_processes: Number of processes.
        process_id: Index of this process, from 0.
        timeout: Seconds to wait for the other processes.

    Raises:
        RuntimeError: Nobody listens at ``coordinator`` within ``timeout``, or JAX cannot find the processes.
            (If process 0 waits in vain for the others, the runtime itself ends the program.)
        ValueError: ``coordinator`` is not ``HOST:PORT``, JAX cannot find the processes, or arguments are
            missing.
    """
    if coordinator is not None:
        host, port = host_and_port(coordinator)
        if process_id:
            _wait_for(host, port, timeout)  # because the runtime would end the program with a stack trace
    jax.distributed.initialize(
        coordinator,
        num_processes,
        process_id,
        initialization_timeout=max(1, round(timeout)),
        heartbeat_timeout_seconds=HEARTBEAT,
        shutdown_timeout_seconds=ENDING,
    )


def _wait_for(host: str, port: int, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while True:
        try:
            socket.create_connection((host, port), timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() > deadline:
                trouble = error.strerror or str(error)
                raise RuntimeError(f"process 0 does not answer there ({trouble})") from None
        time.sleep(0.2)


def shutdown() -> None:
    """Leaves the run when all processes do; does nothing in a run of one process."""
    if jax.distributed.is_initialized():
        jax.distributed.shutdown()


def lost_process(error: BaseException) -> bool:
    """Whether an error, or one that caused it, means that another process of the run is gone.

    False in a run of one process. See ``reports_lost_process`` for which errors mean that.
    """
    if not jax.distributed.is_initialized() or jax.process_count() == 1:
        return False
    return reports_lost_process(error)


def reports_lost_process(error: BaseException) -> bool:
    """Whether the runtime raised an error because another process did not answer.

    The runtime has no class of its own for this. It raises ``jax.errors.JaxRuntimeError``, and
    ``ValueError`` where a result is fetched, whose message begins with a status code. Two kinds count:

    - a collective operation (Gloo, NCCL) that failed because its connection closed or timed out;
    - a ``JaxRuntimeError`` of the coordination service: ``UNAVAILABLE``, ``DEADLINE_EXCEEDED``, or a barrier
      that failed because a task stopped its heartbeat.

    Every other error means what it says. Libraries wrap the runtime's errors: causes are looked at, too.
    """
    seen: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in seen:
        seen.append(current)
        runtime = isinstance(current, jax.errors.JaxRuntimeError)
        message = str(current)
        if (runtime or type(current) is ValueError) and _COLLECTIVE.match(message):
            return True
        if runtime and _COORDINATION.match(message):
            return True
        current = current.__cause__ or current.__context__
    return False
