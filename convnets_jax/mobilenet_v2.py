"""MobileNetV2 (Sandler et al., CVPR 2018, arXiv 1801.04381): inverted residuals with ReLU6, in torchvision's form."""

from dataclasses import dataclass

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from convnets_jax.classifiers import PooledClassifier
from convnets_jax.config_checks import check_at_least, check_dropout, field_error
from convnets_jax.inverted_residual import InvertedResidual, InvertedResidualFeatures, divisible
from convnets_jax.layers import ConvNorm

# The paper's table 2: how many times as wide as its input a block is inside (t), its output's channels at width 1 (c),
# blocks (n), and the stride of the first of them (s).
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_STEM_WIDTH, _LAST_WIDTH = 32, 1280


@dataclass(frozen=True)
class MobileNetV2Config:
    """Configuration of a MobileNetV2.

    Attributes:
        width: the factor on the channels of all layers; the last convolution is never narrowed (section 5).
        dropout: share of the mean features that is dropped in training.
        num_classes: width of the last layer.
    """

    width: float = 1.0
    dropout: float = 0.2
    num_classes: int = 1000

    def __post_init__(self):
        if self.width <= 0:
            raise field_error(self, "width", "a positive factor")
        check_dropout(self, "dropout")
        check_at_least(self, 1, "num_classes")

    def channels(self, width: int) -> int:
        """A layer's channels, given those at full width."""
        return divisible(width * self.width)


# 3,504,872 parameters at full width.
CONFIGS = {"mobilenet_v2": MobileNetV2Config(), "mobilenet_v2_050": MobileNetV2Config(0.5)}


class MobileNetV2Features(InvertedResidualFeatures):
    """The convolutions of a MobileNetV2: images [b, h, w, 3] -> features [b, h / 32, w / 32, c], sides rounded up."""

    def __init__(
        self, config: MobileNetV2Config, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs
    ):
        shared = {"activation": nnx.relu6, "dtype": dtype, "rngs": rngs}
        channels = config.channels(_STEM_WIDTH)
        stem = ConvNorm(3, channels, 3, 2, **shared)
        blocks = []
        for expansion, width, count, first_stride in _STAGES:
            out = config.channels(width)
            for stride in (first_stride, *[1] * (count - 1)):
                inside = expansion * channels
                blocks.append(InvertedResidual(channels, inside, out, stride=stride, **shared))
                channels = out
        last = ConvNorm(channels, divisible(_LAST_WIDTH * max(config.width, 1)), 1, **shared)
        super().__init__(config, stem, blocks, last)


class MobileNetV2(PooledClassifier):
    """A MobileNetV2 with dropout and its linear layer: images [b, h, w, 3] -> logits [b, num_classes]."""

    def __init__(
        self, config: MobileNetV2Config, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs
    ):
        features = MobileNetV2Features(config, dtype=dtype, rngs=rngs)
        super().__init__(features, dropout=config.dropout, rngs=rngs)
