"""DeepPose's stage 1: a network that sees a whole box and gives every joint in the box's frame."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from convnets_jax.alexnet import AlexNetConfig, AlexNetFeatures
from deeppose_jax.config import ModelConfig
from deeppose_jax.heads import Estimate, RegressionHead
from deeppose_jax.skeleton import Skeleton


class Regressor(nnx.Module):
    """psi(x; theta): backbone and head over a skeleton.

    Takes normalised crops [b, s, s, 3] of boxes and estimates joints [b, k, 2] in the boxes' frames, in which the box
    is [-0.5, 0.5]^2. `train()` and `eval()` switch dropout and batch normalisation; dropout draws from `rngs`.
    """

    def __init__(self, config: ModelConfig, skeleton: Skeleton, *, rngs: nnx.Rngs):
        dtype = activation_dtype(config.dtype)
        self.backbone = AlexNetFeatures(
            AlexNetConfig(
                input_size=config.input_size,
                widths=config.widths,
                first_kernel=config.first_kernel,
                first_stride=config.first_stride,
                first_padding="SAME",
                norm=config.norm,
                init="he",
            ),
            dtype=dtype,
            rngs=rngs,
        )
        height, width, channels = self.backbone.output_shape(config.input_size)
        self.head = RegressionHead(
            height * width * channels,
            skeleton.num_joints,
            config.hidden,
            config.dropout,
            dtype=dtype,
            rngs=rngs,
        )

    def __call__(self, images: Float[Array, "b s s 3"], rngs: nnx.Rngs | None = None) -> Estimate:
        return self.head(self.backbone(images), rngs)


def activation_dtype(name: str) -> DTypeLike:
    """The type of activations that a config's "auto", "float32" or "bfloat16" means on this machine."""
    if name == "auto":
        return jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16
    return jnp.dtype(name)
