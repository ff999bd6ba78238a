"""The placement of arrays: parameters and data sets on every device, batches divided among the devices."""

import math
from collections.abc import Sequence
from typing import TypeVar

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from engine_jax.errors import UserError

T = TypeVar("T")


def device_mesh(**axes: int) -> Mesh:
    """A mesh over all devices of all hosts: an axis "data", and after it the named ones of the given sizes.

    Raises:
        UserError: when the devices can't be divided so.
    """
    count, inner = jax.device_count(), math.prod(axes.values())
    if count % inner:
        asked = ", ".join(f"{name} = {size}" for name, size in axes.items())
        raise UserError(
            f"a device mesh of {asked} takes a multiple of {inner} devices, not {count}"
        )
    types = (AxisType.Auto,) * (1 + len(axes))
    return jax.make_mesh((count // inner, *axes.values()), ("data", *axes), axis_types=types)


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on each device."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh, axis: int = 0, over: Sequence[str] | None = None) -> NamedSharding:
    """Split along one array axis: over all devices, or over those along the named axes of the mesh."""
    names = mesh.axis_names if over is None else over
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, tuple(names)))


def place(tree: T, sharding: NamedSharding) -> T:
    """Puts host arrays that every process holds whole onto the devices.

    Each process hands over only the shards of its own devices.
    """

    def put(array):
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    return jax.tree.map(put, tree)


def batch_mesh(train: int, evaluation: int) -> Mesh:
    """All devices, among which batches of these sizes are split.

    Raises:
        UserError: when they can't be.
    """
    mesh = device_mesh()
    check_batch_size(train, mesh.size, "config.train.batch_size")
    check_batch_size(evaluation, mesh.size, "config.evaluation.batch_size")
    return mesh


def check_batch_size(batch_size: int, devices: int, field: str) -> None:
    """Raises a UserError when a batch can't be split evenly over the devices."""
    if batch_size % devices:
        raise UserError(
            f"{field}: {batch_size} images can't be split over {devices} devices; accepted: a multiple of {devices}"
        )
