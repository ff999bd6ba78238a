"""MobileNet v1 (Howard et al., arXiv 1704.04861, table 1): depthwise separable convolutions, and a width multiplier.

Each layer has batch normalisation instead of a bias, and a ReLU. The paper's resolution multiplier is nothing but
the image's size, and the network takes any.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from convnets_jax.classifiers import PooledClassifier
from convnets_jax.config_checks import check_at_least, field_error
from convnets_jax.features import Features, Window
from convnets_jax.layers import ConvNorm

# Channels after each block at width 1, and the stride of its depthwise convolution. The table prints stride 2 for the
# last one, whose input and output are both 7x7 there: it is 1.
_BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *[(512, 1)] * 5,
    (1024, 2),
    (1024, 1),
)
_STEM_WIDTH, _STEM_STRIDE = 32, 2


@dataclass(frozen=True)
class MobileNetConfig:
    """Configuration of a MobileNet.

    Attributes:
        width: the factor on the channels of all layers, alpha in the paper.
        num_classes: width of the last layer.
    """

    width: float = 1.0
    num_classes: int = 1000

    def __post_init__(self):
        if self.width <= 0:
            raise field_error(self, "width", "a positive factor")
        check_at_least(self, 1, "num_classes")

    def channels(self, width: int) -> int:
        """A layer's channels, given those at full width; at least 8."""
        return max(int(width * self.width), 8)


CONFIGS = {
    "mobilenet_v1": MobileNetConfig(),
    "mobilenet_v1_075": MobileNetConfig(0.75),
    "mobilenet_v1_050": MobileNetConfig(0.5),
    "mobilenet_v1_025": MobileNetConfig(0.25),
}


class Separable(nnx.Module):
    """A 3x3 filter for each channel, then a 1x1 convolution: [b, h, w, i] -> [b, h / s, w / s, c]."""

    def __init__(
        self, in_channels: int, channels: int, stride: int, *, dtype: DTypeLike, rngs: nnx.Rngs
    ):
        shared = {"dtype": dtype, "rngs": rngs}
        grouped = {"padding": "SAME", "groups": in_channels, **shared}
        self.depthwise = ConvNorm(in_channels, in_channels, 3, stride, **grouped)
        self.pointwise = ConvNorm(in_channels, channels, 1, **shared)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.pointwise(self.depthwise(x))


class MobileNetFeatures(Features):
    """The convolutions of a MobileNet: [b, h, w, 3] -> [b, h / 32, w / 32, c], sides rounded up.

    Attributes:
        config: its configuration.
        out_channels: c.
        stem: the first convolution, with `conv` and `norm`.
        blocks: each with a `depthwise` and a `pointwise` convolution.
    """

    def __init__(self, config: MobileNetConfig, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        self.config = config
        channels = config.channels(_STEM_WIDTH)
        self.stem = ConvNorm(3, channels, 3, _STEM_STRIDE, padding="SAME", dtype=dtype, rngs=rngs)
        self.blocks = nnx.List([])
        for width, stride in _BLOCKS:
            out = config.channels(width)
            self.blocks.append(Separable(channels, out, stride, dtype=dtype, rngs=rngs))
            channels = out
        self.out_channels = channels

    def windows(self) -> list[Window]:
        # Under padding SAME only the strides count.
        return [Window(1, stride) for stride in (_STEM_STRIDE, *(s for _, s in _BLOCKS))]

    def __call__(self, x: jax.Array) -> jax.Array:
        self.check(x)
        x = self.stem(x)  # [b, h / 2, w / 2, 32]
        for block in self.blocks:
            x = block(x)
        return x  # [b, h / 32, w / 32, c]


class MobileNet(PooledClassifier):
    """A MobileNet with its linear layer: images [b, h, w, 3] -> logits [b, num_classes]."""

    def __init__(self, config: MobileNetConfig, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        super().__init__(MobileNetFeatures(config, dtype=dtype, rngs=rngs), rngs=rngs)
