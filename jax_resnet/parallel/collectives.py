"""How processes come to one mind."""

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jax_resnet.parallel.mesh import DATA

T = TypeVar("T")


def process_max(mesh: Mesh) -> Callable[[np.ndarray], Any]:
    """Makes a function from an integer vector of each process to the largest of all, element by element.

    It returns at once, with an array that is still being computed: whoever reads it some steps later does
    not wait, and all processes read the same at the same step.
    """
    if jax.process_count() == 1:
        return lambda votes: votes
    largest = jax.jit(lambda votes: votes.max(0), out_shardings=NamedSharding(mesh, P()))
    rows = NamedSharding(mesh, P(DATA))

    def ask(votes: np.ndarray) -> jax.Array:
        mine = np.tile(np.asarray(votes, np.int32), (len(mesh.local_devices), 1))
        return largest(jax.make_array_from_process_local_data(rows, mine))

    return ask


def broadcast_from_primary(compute: Callable[[], T], errors: tuple[type[Exception], ...] = ()) -> T:
    """Computes something in process 0 alone, and tells the others.

    Args:
        compute: Returns what JSON can hold.
        errors: Classes made from a message alone: such an error is raised in every process.
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
    """The rows of several global batches, in order, from the rows of each that every process has.

    Args:
        batches: This process's rows, batch by batch; shapes are the same in all processes.
    """
    mine = np.stack(batches)
    if jax.process_count() == 1:
        return mine.reshape(-1, *mine.shape[2:])
    everyones = np.asarray(multihost_utils.process_allgather(mine))  # (processes, batches, rows, ...)
    return everyones.swapaxes(0, 1).reshape(-1, *mine.shape[2:])


def _broadcast(outcome: dict[str, Any]) -> dict[str, Any]:
    content = np.frombuffer(json.dumps(outcome).encode(), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(content))))
    padded = np.zeros(size, np.uint8)
    padded[: len(content)] = content[:size]
    told: dict[str, Any] = json.loads(bytes(np.asarray(multihost_utils.broadcast_one_to_all(padded))))
    return told
