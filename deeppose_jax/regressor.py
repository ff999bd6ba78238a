"""DeepPose's stage 1: a network that sees a whole box and gives every joint in the box's frame."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from convnets_jax.alexnet import AlexNetConfig, AlexNetFeatures
from deeppose_jax.config import ModelConfig
from deeppose_jax.skeleton import Skeleton


class RegressionHead(nnx.Module):
    """F - F - 2k on flattened features: the coordinates themselves (DeepPose, section 3.1)."""

    def __init__(
        self,
        in_features: int,
        num_joints: int,
        hidden: tuple[int, ...],
        dropout: float,
        *,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.num_joints = num_joints
        self.hidden = nnx.List([])
        for width in hidden:
            init = nnx.initializers.he_normal()
            self.hidden.append(
                nnx.Linear(in_features, width, dtype=dtype, kernel_init=init, rngs=rngs)
            )
            in_features = width
        self.dropout = nnx.Dropout(dropout)
        # Poses start near the boxes' centres: wider ones would first have to be unlearnt.
        self.joints = nnx.Linear(
            in_features, 2 * num_joints, kernel_init=nnx.initializers.normal(1e-3), rngs=rngs
        )

    def __call__(
        self, features: Float[Array, "b h w c"], rngs: nnx.Rngs | None = None
    ) -> Float[Array, "b k 2"]:
        x = features.reshape(features.shape[0], -1)  # [b, h w c]
        for linear in self.hidden:
            x = self.dropout(nnx.relu(linear(x)), rngs=rngs)
        return self.joints(x.astype(jnp.float32)).reshape(-1, self.num_joints, 2)


class Regressor(nnx.Module):
    """psi(x; theta): backbone and head over a skeleton.

    Takes normalised crops [b, s, s, 3] of boxes and gives joints [b, k, 2] in the boxes' frames, in which the box is
    [-0.5, 0.5]^2. `train()` and `eval()` switch dropout and batch normalisation; dropout draws from `rngs`.
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

    def __call__(
        self, images: Float[Array, "b s s 3"], rngs: nnx.Rngs | None = None
    ) -> Float[Array, "b k 2"]:
        return self.head(self.backbone(images), rngs)


def activation_dtype(name: str) -> DTypeLike:
    """The type of activations that a config's "auto", "float32" or "bfloat16" means on this machine."""
    if name == "auto":
        return jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16
    return jnp.dtype(name)


def masked_l2(
    predicted: Float[Array, "b k 2"], target: Float[Array, "b k 2"], labelled: Bool[Array, "b k"]
) -> Float[Array, " b"]:
    """sum_i ||y_i - psi_i||^2 over the labelled joints of each image (DeepPose, equation 4)."""
    squared = jnp.square(predicted - target).sum(-1)  # [b, k]
    return jnp.where(labelled, squared, 0).sum(-1)
