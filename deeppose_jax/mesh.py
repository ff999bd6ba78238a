"""How a pose run's arrays are divided among the devices, along the axes "data" and "joint"."""

from typing import Any

from jax.sharding import Mesh

from deeppose_jax.config import PoseConfig, StageConfig
from engine_jax import sharding
from engine_jax.errors import UserError
from engine_jax.state import TrainState


def make_mesh(settings: PoseConfig, num_joints: int) -> Mesh:
    """All devices, along "data" and "joint".

    Raises:
        UserError: when joints or batches can't be divided among them.
    """
    joints = settings.refiner.joint_devices if settings.stages > 1 else 1
    if num_joints % joints:
        raise UserError(
            f"config.refiner.joint_devices: {joints}; accepted: a divisor of {num_joints} joints"
        )
    mesh = sharding.device_mesh(joint=joints)
    sharding.check_batch_size(settings.train.batch_size, mesh.size, "config.train.batch_size")
    data = mesh.shape["data"]
    sharding.check_batch_size(settings.evaluation.batch_size, data, "config.evaluation.batch_size")
    if settings.stages > 1:
        sharding.check_batch_size(
            settings.refiner.train.batch_size, data, "config.refiner.train.batch_size"
        )
    return mesh


def state_sharding(stage: StageConfig, mesh: Mesh) -> Any:
    """A copy of everything on every device, but "per_joint" refiners are divided along "joint"."""
    everywhere = sharding.replicated(mesh)
    if stage.form != "per_joint":
        return everywhere
    divided = sharding.split(mesh, over=("joint",))
    return TrainState(everywhere, divided, divided, divided)  # pyright: ignore[reportArgumentType]


def batch_axes(stage: StageConfig) -> tuple[str, ...] | None:
    """The axes of the mesh along which a stage's training batches are divided; None is all of them."""
    return None if stage.form == "regressor" else ("data",)
