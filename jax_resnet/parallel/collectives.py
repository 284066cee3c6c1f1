"""Values that all processes of a run agree on."""

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jax_resnet.parallel.mesh import DATA

__all__ = ["allgather_rows", "broadcast_from_primary", "process_max"]

T = TypeVar("T")


def process_max(mesh: Mesh) -> Callable[[np.ndarray], Any]:
    """Makes a function from each process's integer vector to the elementwise maximum over all processes.

    The function returns at once, with an array that is still being computed. Read it some steps later: the
    read does not wait then, and all processes read the same values at the same step.

    Args:
        mesh: The mesh of all processes' devices, see ``data_mesh``.
    """
    if jax.process_count() == 1:
        return lambda values: values
    largest = jax.jit(lambda values: values.max(0), out_shardings=NamedSharding(mesh, P()))
    rows = NamedSharding(mesh, P(DATA))

    def over_processes(values: np.ndarray) -> jax.Array:
        mine = np.tile(np.asarray(values, np.int32), (len(mesh.local_devices), 1))
        return largest(jax.make_array_from_process_local_data(rows, mine))

    return over_processes


def broadcast_from_primary(compute: Callable[[], T], errors: tuple[type[Exception], ...] = ()) -> T:
    """Computes a value in process 0 alone and returns it in every process.

    Args:
        compute: Returns what JSON can hold.
        errors: Classes that are made from a message alone. Such an error in process 0 is raised in every
            process; another one is raised in process 0, and as ``RuntimeError`` in the others.
    """
    if jax.process_count() == 1:
        return compute()
    outcome: dict[str, Any] = {}
    failure: Exception | None = None
    if jax.process_index() == 0:
        try:
            outcome = {"value": compute()}
        except errors as error:
            failure = error
            outcome = {"error": type(error).__name__, "message": str(error)}
        except BaseException as error:
            _broadcast({"error": "RuntimeError", "message": f"process 0 failed: {error}"})
            raise
    outcome = _broadcast(outcome)
    if failure is not None:
        raise failure
    if "error" in outcome:
        known = {kind.__name__: kind for kind in errors}
        raise known.get(outcome["error"], RuntimeError)(outcome["message"])
    value: T = outcome["value"]
    return value


def allgather_rows(batches: Sequence[np.ndarray]) -> np.ndarray:
    """The rows of several global batches, in order, from each process's rows of every batch.

    Args:
        batches: This process's rows, one array per batch; shapes are the same in all processes.
    """
    mine = np.stack(batches)
    if jax.process_count() == 1:
        return mine.reshape(-1, *mine.shape[2:])
    gathered = np.asarray(multihost_utils.process_allgather(mine))  # (processes, batches, rows, ...)
    return gathered.swapaxes(0, 1).reshape(-1, *mine.shape[2:])


def _broadcast(outcome: dict[str, Any]) -> dict[str, Any]:
    content = np.frombuffer(json.dumps(outcome).encode(), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(content))))
    padded = np.zeros(size, np.uint8)
    padded[: len(content)] = content[:size]
    received: dict[str, Any] = json.loads(bytes(np.asarray(multihost_utils.broadcast_one_to_all(padded))))
    return received
