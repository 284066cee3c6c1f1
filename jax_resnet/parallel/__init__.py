"""One training step over many devices and many processes.

    plan = Plan(data_mesh())
    step = plan.train_step(make_train_step(model, tx, augment, axis_name=plan.axis_name), state)
    state, metrics = step(plan.place(state), rows)  # rows: this process's part of the global batch

The collective operations that a training loop needs beside its steps are in
``jax_resnet.parallel.collectives``.
"""

from jax_resnet.parallel.distributed import initialize, lost_process, shutdown
from jax_resnet.parallel.mesh import DATA, data_mesh, process_shard
from jax_resnet.parallel.plan import Plan

__all__ = [
    "DATA",
    "Plan",
    "data_mesh",
    "initialize",
    "lost_process",
    "process_shard",
    "shutdown",
]
