"""Human pose by regression: DeepPose (Toshev and Szegedy, CVPR 2014) in JAX and Flax NNX."""

from deeppose_jax.cascade import Cascade, StagePoses
from deeppose_jax.config import CascadeConfig
from deeppose_jax.heads import Estimate
from deeppose_jax.model_config import ModelConfig
from deeppose_jax.regressor import Regressor
from deeppose_jax.skeleton import LSP, Skeleton, make_skeleton
from deeppose_jax.skeletons import COCO, FLIC, MPII

__all__ = [
    "COCO",
    "FLIC",
    "LSP",
    "MPII",
    "Cascade",
    "CascadeConfig",
    "Estimate",
    "ModelConfig",
    "Regressor",
    "Skeleton",
    "StagePoses",
    "load",
    "make_skeleton",
    "save",
]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str):
    # These need orbax, which an import of the modules alone shouldn't pay for.
    if name in ("load", "save"):
        from deeppose_jax import pose_model

        return getattr(pose_model, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
