"""All devices in a row, and how arrays lie on them."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

DATA = "data"
"""The mesh's one axis, over which batches are shared."""


def data_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh of the devices, all by default, in one axis ``DATA``; those of a process stand side by side."""
    chosen = jax.devices() if devices is None else devices
    return Mesh(np.array(sorted(chosen, key=lambda d: (d.process_index, d.id))), (DATA,))


def process_shard() -> tuple[int, int]:
    """This process's ``shard=(index, count)`` of each batch, for a split's batches."""
    return jax.process_index(), jax.process_count()


def shardings_of(tree: Any, mesh: Mesh, *, shard: bool) -> Any:
    """How each array of a state lies on the mesh.

    Args:
        tree: Arrays, or their shapes.
        mesh: See ``data_mesh``.
        shard: Whether to cut arrays into a part for each device, along their largest axis that divides
            (Rajbhandari et al. 2020, "ZeRO", stage 3); those of less than 1,024 numbers a device stay
            whole, because fetching them would cost more than it saves. Else every device has all.
    """
    count = mesh.size

    def sharding(x: Any) -> NamedSharding:
        sizes = [size if size % count == 0 else 0 for size in x.shape]
        if not shard or count == 1 or not any(sizes) or x.size < 1024 * count:
            return NamedSharding(mesh, P())
        axis = int(np.argmax(sizes))
        return NamedSharding(mesh, P(*(DATA if i == axis else None for i in range(axis + 1))))

    return jax.tree.map(sharding, tree)


def place(tree: Any, shardings: Any) -> Any:
    """Puts arrays that every process has in full where their shardings say."""

    def put(x: Any, sharding: NamedSharding) -> jax.Array:
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(put(jax.random.key_data(x), sharding))
        host = np.asarray(x)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return jax.tree.map(put, tree, shardings)


def replicated(tree: Any, mesh: Mesh) -> Any:
    """The global arrays of those, each whole on every device, of which ``pmap`` returns a process's own."""
    whole = NamedSharding(mesh, P())

    def put(x: jax.Array) -> jax.Array:
        if len(x.sharding.device_set) == mesh.size:
            return x
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(put(jax.random.key_data(x)))
        parts = [shard.data for shard in x.addressable_shards]
        return jax.make_array_from_single_device_arrays(x.shape, whole, parts)

    return jax.tree.map(put, tree)


def row_spec(axis: int = 0) -> P:
    """That the rows of a batch, along ``axis``, are shared."""
    return P(*[None] * axis, DATA)


def place_rows(batch: Any, mesh: Mesh, axis: int = 0) -> Any:
    """The global batch, from the rows along ``axis`` that each process has."""
    sharding = NamedSharding(mesh, row_spec(axis))
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)
