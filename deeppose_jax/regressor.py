"""The network of every stage: from the crop of a box to joints in the box's frame."""

from dataclasses import asdict
from typing import Any

from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from convnets_jax import zoo
from convnets_jax.alexnet import AlexNetConfig, AlexNetFeatures
from convnets_jax.compact import CompactConfig, CompactFeatures
from convnets_jax.precision import activation_dtype
from convnets_jax.top_down import TopDownFeatures
from deeppose_jax.heads import Estimate, Head, IntegralHead, RegressionHead, ResidualHead
from deeppose_jax.model_config import ModelConfig


class Regressor(nnx.Module):
    """psi(x; theta): a backbone and a head for k joints (DeepPose, section 3.1).

    Takes normalised crops [b, s, s, 3] of boxes and estimates joints [b, k, 2] in the boxes' frames, in which the box
    is [-0.5, 0.5]^2. `train()` and `eval()` switch dropout and batch normalisation; dropout draws from `rngs`.

    Args:
        config: its configuration.
        num_joints: k.
        rngs: draws the parameters.
    """

    def __init__(self, config: ModelConfig, num_joints: int, *, rngs: nnx.Rngs):
        dtype = activation_dtype(config.dtype)
        self.backbone = _backbone(config, dtype, rngs)
        self.pooled = config.pool == "average"
        height, width, channels = self.backbone.output_shape(config.input_size)
        cells = 1 if self.pooled else height * width
        self.head = _head(config, cells, channels, num_joints, dtype, rngs)

    def __call__(self, images: Float[Array, "b s s 3"], rngs: nnx.Rngs | None = None) -> Estimate:
        features = self.backbone(images)  # [b, h, w, c]
        if self.pooled:
            features = features.mean((1, 2), keepdims=True)  # [b, 1, 1, c]
        return self.head(features, rngs)

    def loss(
        self, estimate: Estimate, target: Float[Array, "b k 2"], labelled: Bool[Array, "b k"]
    ) -> Float[Array, " b"]:
        """The head's loss of each image."""
        return self.head.loss(estimate, target, labelled)


def _backbone(config: ModelConfig, dtype: DTypeLike, rngs: nnx.Rngs) -> Any:
    """A module with `output_shape`, from images to features [b, h, w, c]."""
    if config.backbone == "compact":
        return CompactFeatures(CompactConfig(**asdict(config.compact)), dtype=dtype, rngs=rngs)
    if config.backbone == "alexnet":
        layers = AlexNetConfig(
            input_size=config.input_size,
            first_padding="SAME",
            init="he",
            **asdict(config.alexnet),
        )
        return AlexNetFeatures(layers, dtype=dtype, rngs=rngs)
    features = zoo.create_features(config.zoo_name, dtype=dtype, rngs=rngs)
    if config.top_down:
        return TopDownFeatures(features, config.top_down, dtype=dtype, rngs=rngs)
    return features


def _head(
    config: ModelConfig,
    cells: int,
    channels: int,
    num_joints: int,
    dtype: DTypeLike,
    rngs: nnx.Rngs,
) -> Head:
    if config.integral:
        flow = config.head == "integral_rle"
        return IntegralHead(channels, num_joints, flow, dtype=dtype, rngs=rngs)
    kind = ResidualHead if config.head == "rle" else RegressionHead
    return kind(cells * channels, num_joints, config.hidden, config.dropout, dtype=dtype, rngs=rngs)
