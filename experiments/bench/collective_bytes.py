"""The bytes that the training step, as XLA compiles it, adds up over the devices of this machine."""

import math
import re

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from jax_resnet import optim
from jax_resnet.data.augment import make_augment
from jax_resnet.parallel import DATA, data_mesh
from jax_resnet.parallel.mesh import shardings_of
from jax_resnet.train import create_state, make_train_step

__all__ = ["compile_step", "compiled_bytes"]


def compile_step(model: nn.Module, image_size: int, per_device_batch: int) -> str:
    """Compiles the training step by jit over a mesh of this machine's devices; returns XLA's text of it."""
    shape = (image_size, image_size, 3)
    mesh, tx = data_mesh(), optim.sgd(0.1)
    state = jax.eval_shape(lambda: create_state(model, tx, jax.random.key(0), shape))
    state = jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
        state,
        shardings_of(state, mesh, shard=False),
    )
    size, rows = mesh.size * per_device_batch, NamedSharding(mesh, P(DATA))
    batch = {
        "image": jax.ShapeDtypeStruct((size, *shape), jnp.uint8, sharding=rows),
        "label": jax.ShapeDtypeStruct((size,), jnp.int32, sharding=rows),
        "index": jax.ShapeDtypeStruct((size,), jnp.int32, sharding=rows),
    }
    step = make_train_step(model, tx, make_augment((0.5,) * 3, (0.25,) * 3))
    return jax.jit(step).lower(state, batch).compile().as_text() or ""


def compiled_bytes(program: str) -> int:
    """Bytes of the results of all all-reduces in a compiled program, in XLA's textual form."""
    total = 0
    for line in program.splitlines():
        if found := re.search(r"= (.*?) all-reduce(-start)?\(", line):
            for kind, shape in re.findall(r"([a-z]+\d+)\[([\d,]*)\]", found[1]):
                size = math.prod(int(axis) for axis in shape.split(",") if axis)
                total += size * int(re.sub(r"\D", "", kind)) // 8
    return total
