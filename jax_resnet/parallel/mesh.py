"""All devices in a row, and how arrays are laid out over them."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

__all__ = [
    "DATA",
    "data_mesh",
    "place",
    "place_rows",
    "process_shard",
    "replicated",
    "row_spec",
    "shardings_of",
]

DATA = "data"
"""The mesh's one axis, over which batches are split."""

# Arrays with fewer numbers per device are not sharded: fetching them would cost more than sharding saves.
_MIN_SHARD = 1024


def data_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh with one axis, ``DATA``, of all devices or of those given; each process's are side by side."""
    chosen = jax.devices() if devices is None else devices
    return Mesh(np.array(sorted(chosen, key=lambda d: (d.process_index, d.id))), (DATA,))


def process_shard() -> tuple[int, int]:
    """This process's ``shard=(index, count)`` of each batch, for a split's batches."""
    return jax.process_index(), jax.process_count()


def shardings_of(tree: Any, mesh: Mesh, *, shard: bool) -> Any:
    """The sharding of each array of a state.

    Args:
        tree: Arrays, or their shapes.
        mesh: See ``data_mesh``.
        shard: Whether to cut arrays into one part per device, along their largest axis that divides
            (Rajbhandari et al. 2020, "ZeRO", stage 3); arrays of less than 1,024 numbers per device stay
            whole. Otherwise every device holds every array.

    Returns:
        A tree of ``NamedSharding``, structured like ``tree``.
    """
    count = mesh.size

    def sharding(x: Any) -> NamedSharding:
        sizes = [size if size % count == 0 else 0 for size in x.shape]
        if not shard or count == 1 or not any(sizes) or x.size < _MIN_SHARD * count:
            return NamedSharding(mesh, P())
        axis = int(np.argmax(sizes))
        return NamedSharding(mesh, P(*(DATA if i == axis else None for i in range(axis + 1))))

    return jax.tree.map(sharding, tree)


def place(tree: Any, shardings: Any) -> Any:
    """Puts arrays on devices, from full copies in every process.

    Args:
        tree: Arrays and random keys.
        shardings: A sharding for each, see ``shardings_of``.
    """

    def put(x: Any, sharding: NamedSharding) -> jax.Array:
        if _is_key(x):
            data = put(jax.random.key_data(x), sharding)
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))
        host = np.asarray(x)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return jax.tree.map(put, tree, shardings)


def replicated(tree: Any, mesh: Mesh) -> Any:
    """Makes global arrays, whole on every device, from a process's own, as ``pmap`` returns them."""
    whole = NamedSharding(mesh, P())

    def put(x: jax.Array) -> jax.Array:
        if len(x.sharding.device_set) == mesh.size:
            return x
        if _is_key(x):
            return jax.random.wrap_key_data(put(jax.random.key_data(x)), impl=jax.random.key_impl(x))
        parts = [shard.data for shard in x.addressable_shards]
        return jax.make_array_from_single_device_arrays(x.shape, whole, parts)

    return jax.tree.map(put, tree)


def row_spec(axis: int = 0) -> P:
    """The partition of a batch whose rows, along ``axis``, are split over the mesh."""
    return P(*[None] * axis, DATA)


def place_rows(batch: Any, mesh: Mesh, axis: int = 0) -> Any:
    """The global batch, from each process's rows along ``axis``."""
    sharding = NamedSharding(mesh, row_spec(axis))
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)


def _is_key(x: Any) -> bool:
    return jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
