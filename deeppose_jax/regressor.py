"""The network of every stage: it sees a box and gives joints in the box's frame."""

from dataclasses import asdict

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from convnets_jax.alexnet import AlexNetConfig, AlexNetFeatures
from convnets_jax.compact import CompactConfig, CompactFeatures
from deeppose_jax.config import ModelConfig
from deeppose_jax.heads import Estimate, IntegralHead, RegressionHead


class Regressor(nnx.Module):
    """psi(x; theta): a backbone, and a head for some joints (DeepPose, section 3.1).

    Takes normalised crops [b, s, s, 3] of boxes and estimates joints [b, k, 2] in the boxes' frames, in which the box
    is [-0.5, 0.5]^2. `train()` and `eval()` switch dropout and batch normalisation; dropout draws from `rngs`.

    Args:
        config: the network.
        num_joints: k, the joints that it gives.
        rngs: draws the parameters.
    """

    def __init__(self, config: ModelConfig, num_joints: int, *, rngs: nnx.Rngs):
        dtype = activation_dtype(config.dtype)
        self.backbone = _backbone(config, dtype, rngs)
        height, width, channels = self.backbone.output_shape(config.input_size)
        if config.head == "integral":
            self.head = IntegralHead(channels, num_joints, dtype=dtype, rngs=rngs)
        else:
            self.head = RegressionHead(
                height * width * channels,
                num_joints,
                config.hidden,
                config.dropout,
                dtype=dtype,
                rngs=rngs,
            )

    def __call__(self, images: Float[Array, "b s s 3"], rngs: nnx.Rngs | None = None) -> Estimate:
        return self.head(self.backbone(images), rngs)


def _backbone(
    config: ModelConfig, dtype: DTypeLike, rngs: nnx.Rngs
) -> AlexNetFeatures | CompactFeatures:
    if config.backbone == "compact":
        return CompactFeatures(CompactConfig(**asdict(config.compact)), dtype=dtype, rngs=rngs)
    layers = AlexNetConfig(
        input_size=config.input_size,
        first_padding="SAME",
        init="he",
        **asdict(config.alexnet),
    )
    return AlexNetFeatures(layers, dtype=dtype, rngs=rngs)


def activation_dtype(name: str) -> DTypeLike:
    """The type of activations that a config's "auto", "float32" or "bfloat16" means on this machine."""
    if name == "auto":
        return jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16
    return jnp.dtype(name)
