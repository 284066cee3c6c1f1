"""One training step over many devices and many processes.

plan = Plan(data_mesh())
step = plan.train_step(make_train_step(model, tx, augment, axis_name=plan.axis_name), state)
state, metrics = step(plan.place(state), rows)  # the rows of the global batch that this process has
"""

from jax_resnet.parallel.agree import agree, all_rows, from_first
from jax_resnet.parallel.mesh import DATA, data_mesh, process_shard
from jax_resnet.parallel.plan import Plan
from jax_resnet.parallel.processes import ProcessLostError, initialize, lost_process, shutdown

__all__ = [
    "DATA",
    "Plan",
    "ProcessLostError",
    "agree",
    "all_rows",
    "data_mesh",
    "from_first",
    "initialize",
    "lost_process",
    "process_shard",
    "shutdown",
]
