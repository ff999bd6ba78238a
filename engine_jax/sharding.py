"""The placement of arrays: parameters and data sets on every device, batches divided among the devices."""

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from engine_jax.devices import all_devices
from engine_jax.errors import UserError

T = TypeVar("T")


def device_mesh(batch_size: int | None = None, **axes: int) -> Mesh:
    """A mesh of devices: an axis "data", among which batches are divided, and after it the named ones of given sizes.

    It takes as many devices as a batch can be divided among evenly, of each host the same number.

    Args:
        batch_size: what the size of "data" has to divide; None is any.
        axes: the sizes of further axes.

    Raises:
        UserError: there are too few devices for the axes, or batches can't be divided among the hosts.
    """
    hosts = _devices_by_host()
    each, inner = min(map(len, hosts)), math.prod(axes.values())
    counts = [n for n in range(len(hosts), each * len(hosts) + 1, len(hosts)) if n % inner == 0]
    if not counts:
        asked = ", ".join(f"{name} = {size}" for name, size in axes.items())
        raise UserError(
            f"a device mesh of {asked} takes {inner} devices or a multiple of it, as many on each host; "
            f"there are {each} on each of {len(hosts)}"
        )
    counts = [n for n in counts if batch_size is None or batch_size % (n // inner) == 0]
    if not counts:
        raise UserError(
            f"training batches of {batch_size} images can't be divided among {len(hosts)} hosts; "
            "accepted: a multiple of that"
        )
    count = counts[-1]
    shape, names = (count // inner, *axes.values()), ("data", *axes)
    types = (AxisType.Auto,) * len(names)
    if count == sum(map(len, hosts)):
        # Neighbours on this mesh are devices that are close to each other.
        return jax.make_mesh(shape, names, axis_types=types, devices=all_devices())
    chosen = [device for host in hosts for device in host[: count // len(hosts)]]
    return Mesh(np.array(chosen).reshape(shape), names, axis_types=types)


def _devices_by_host() -> list[list[Any]]:
    devices = sorted(all_devices(), key=lambda device: device.process_index)
    return [list(host) for _, host in groupby(devices, lambda device: device.process_index)]


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on each device."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh, axis: int = 0, over: Sequence[str] | None = None) -> NamedSharding:
    """Split along one array axis: over all devices, or over those along the named axes of the mesh."""
    names = mesh.axis_names if over is None else over
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, tuple(names)))


def parts(sharding: NamedSharding) -> int:
    """The number of parts that the first array axis is split into."""
    size = sharding.mesh.size
    return size // sharding.shard_shape((size,))[0]


def place(tree: T, sharding: NamedSharding) -> T:
    """Puts host arrays that every process holds whole onto the devices.

    Each process hands over only the shards of its own devices.
    """

    def put(array):
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    with jax.transfer_guard_host_to_device("allow"):  # It is what the caller asks for.
        return jax.tree.map(put, tree)
