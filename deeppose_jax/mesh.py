"""How a pose run's arrays are divided among the devices, along the axes "data" and "joint"."""

import math
from typing import Any

from jax.sharding import Mesh, Sharding

from deeppose_jax.config import PoseConfig, StageConfig
from engine_jax import sharding
from engine_jax.errors import UserError
from engine_jax.state import TrainState


def make_mesh(settings: PoseConfig, num_joints: int) -> Mesh:
    """Devices along "data" and "joint", as many as the training batches of all stages can be divided among.

    Raises:
        UserError: when joints can't be divided among them, or there are too few.
    """
    if settings.stages == 1:
        return sharding.device_mesh(settings.train.batch_size, joint=1)
    joints = settings.refiner.joint_devices
    if num_joints % joints:
        raise UserError(
            f"config.refiner.joint_devices: {joints}; accepted: a divisor of {num_joints} joints"
        )
    batches = math.gcd(settings.train.batch_size, settings.refiner.train.batch_size)
    return sharding.device_mesh(batches, joint=joints)


def state_sharding(stage: StageConfig, mesh: Mesh) -> Any:
    """A copy of everything on every device, but "per_joint" refiners are divided along "joint"."""
    everywhere, divided = sharding.replicated(mesh), variables_sharding(stage, mesh)
    if stage.form != "per_joint":
        return everywhere
    return TrainState(everywhere, divided, divided, divided)  # pyright: ignore[reportArgumentType]


def variables_sharding(stage: StageConfig, mesh: Mesh) -> Sharding:
    """`state_sharding` of the network's variables alone."""
    if stage.form != "per_joint":
        return sharding.replicated(mesh)
    return sharding.split(mesh, over=("joint",))


def batch_axes(stage: StageConfig, mesh: Mesh) -> tuple[str, ...] | None:
    """The axes of the mesh along which a stage's training batches are divided; None is all of them."""
    everywhere = stage.form == "regressor" and stage.train.batch_size % mesh.size == 0
    return None if everywhere else ("data",)
