"""One training step over many devices and many processes.

plan = Plan(data_mesh())
step = plan.train_step(make_train_step(model, tx, augment, axis_name=plan.axis_name), state)
state, metrics = step(plan.place(state), rows)  # the rows of the global batch that this process has
"""

from jax_resnet.parallel.collectives import allgather_rows, broadcast_from_primary, process_max
from jax_resnet.parallel.distributed import ProcessLostError, initialize, lost_process, shutdown
from jax_resnet.parallel.mesh import DATA, data_mesh, process_shard
from jax_resnet.parallel.plan import Plan

__all__ = [
    "DATA",
    "Plan",
    "ProcessLostError",
    "allgather_rows",
    "broadcast_from_primary",
    "data_mesh",
    "initialize",
    "lost_process",
    "process_max",
    "process_shard",
    "shutdown",
]
