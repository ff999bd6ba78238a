"""Human pose by regression: DeepPose (Toshev and Szegedy, CVPR 2014) in JAX and Flax NNX."""

from deeppose_jax.cascade import Cascade, StagePoses
from deeppose_jax.config import CascadeConfig
from deeppose_jax.heads import Estimate
from deeppose_jax.model_config import ModelConfig
from deeppose_jax.regressor import Regressor
from deeppose_jax.skeleton import LSP, Skeleton

__all__ = [
    "LSP",
    "Cascade",
    "CascadeConfig",
    "Estimate",
    "ModelConfig",
    "Regressor",
    "Skeleton",
    "StagePoses",
    "load",
]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str):
    # load needs matplotlib and orbax, which an import of the modules alone shouldn't pay for.
    if name == "load":
        from deeppose_jax.predict import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
