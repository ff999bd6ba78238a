"""Where arrays live: parameters and data sets on every device, batches split among them."""

from typing import TypeVar

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from engine_jax.errors import UserError

T = TypeVar("T")


def data_mesh() -> Mesh:
    """A mesh with one axis, "data", over all devices of all hosts."""
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on each device."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Split over the devices along one array axis."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, "data"))


def place(tree: T, sharding: NamedSharding) -> T:
    """Puts host arrays that every process holds whole onto the devices.

    Each process hands over only the shards of its own devices.
    """

    def put(array):
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    return jax.tree.map(put, tree)


def check_batch_size(batch_size: int, mesh: Mesh, field: str) -> None:
    """Raises a UserError when a batch can't be split evenly over the mesh."""
    if batch_size % mesh.size:
        raise UserError(
            f"{field}: {batch_size} images can't be split over {mesh.size} devices; accepted: a multiple of {mesh.size}"
        )
