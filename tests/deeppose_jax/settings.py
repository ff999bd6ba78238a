"""Typed settings from configs/pose.py, and a skeleton small enough for networks of its joints to compile fast."""

from configs.pose import get_config
from deeppose_jax.config import PoseConfig
from deeppose_jax.skeleton import Skeleton
from engine_jax.config import from_mapping

# A torso and a head.
TORSO = Skeleton(
    joints=("right_hip", "left_hip", "right_shoulder", "left_shoulder", "head"),
    sticks=(),
    limbs=((0, 2, "right"), (1, 3, "left")),
    swap=(1, 0, 3, 2, 4),
    torso=(3, 0),
    joint_groups={},
    part_groups={},
)


def settings(preset: str = "report", **changes: object) -> PoseConfig:
    """A preset's settings with some changes; `refiner__sigma=1.5` is config.refiner.sigma."""
    config = get_config(preset)
    for name, value in changes.items():
        *path, last = name.split("__")
        group = config
        for step in path:
            group = group[step]
        group[last] = value
    return from_mapping(PoseConfig, config.to_dict())


def tiny(**changes: object) -> PoseConfig:
    """Networks that compile in seconds: stage 1 at 32 px and refiners at 24 px, of four channels."""
    small = {}
    for model, size in (("model", 32), ("refiner__model", 24)):
        small |= {
            f"{model}__input_size": size,
            f"{model}__alexnet__widths": (4, 4, 4, 4, 4),
            f"{model}__alexnet__first_kernel": 3,
            f"{model}__alexnet__first_stride": 1,
            f"{model}__alexnet__norm": "none",
            f"{model}__compact__widths": (4, 8),
            f"{model}__compact__blocks": (1, 0),
            f"{model}__compact__out_channels": 8,
            f"{model}__hidden": (8,),
            f"{model}__dropout": 0.0,
            f"{model}__dtype": "float32",
        }
    return settings(**(small | {"stages": 3} | changes))
