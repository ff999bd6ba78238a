"""MobileNet v1 (Howard et al., arXiv 1704.04861, table 1): depthwise separable convolutions, and a width multiplier.

Each layer has batch normalisation, in place of a bias, and a ReLU. The paper's resolution multiplier is the size of the
image: the network takes any.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from convnets_jax import initializers, layers
from convnets_jax.layers import Window
from engine_jax.errors import UserError

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
_BATCH_NORM_MOMENTUM = 0.9


@dataclass(frozen=True)
class MobileNetConfig:
    """What a MobileNet is built from.

    Attributes:
        width: the factor on the channels of all layers, alpha in the paper.
        num_classes: width of the last layer.
    """

    width: float = 1.0
    num_classes: int = 1000

    def __post_init__(self):
        if self.width <= 0:
            raise UserError(f"MobileNetConfig.width is {self.width}: use a positive factor")
        if self.num_classes < 1:
            raise UserError(f"MobileNetConfig.num_classes is {self.num_classes}: use 1 or more")

    @classmethod
    def mobilenet_v1(cls, num_classes: int = 1000) -> "MobileNetConfig":
        """At full width: 4.2 million parameters."""
        return cls(num_classes=num_classes)

    @classmethod
    def mobilenet_v1_075(cls, num_classes: int = 1000) -> "MobileNetConfig":
        """At width 0.75: 2.6 million parameters."""
        return cls(0.75, num_classes=num_classes)

    @classmethod
    def mobilenet_v1_050(cls, num_classes: int = 1000) -> "MobileNetConfig":
        """At width 0.5: 1.3 million parameters."""
        return cls(0.5, num_classes=num_classes)

    @classmethod
    def mobilenet_v1_025(cls, num_classes: int = 1000) -> "MobileNetConfig":
        """At width 0.25: 0.5 million parameters."""
        return cls(0.25, num_classes=num_classes)

    def channels(self, width: int) -> int:
        """A layer's channels, of those that it has at full width; 8 at least."""
        return max(int(width * self.width), 8)


class ConvNorm(nnx.Module):
    """relu(norm(conv(x))) with padding SAME: [b, h, w, i] -> [b, h / s, w / s, c], sides rounded up.

    With `groups` equal to the channels, each has a filter of its own: a depthwise convolution.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        *,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        self.conv = nnx.Conv(
            in_channels,
            channels,
            (kernel, kernel),
            strides=stride,
            feature_group_count=groups,
            use_bias=False,
            dtype=dtype,
            kernel_init=initializers.he_normal(),
            rngs=rngs,
        )
        self.norm = nnx.BatchNorm(channels, momentum=_BATCH_NORM_MOMENTUM, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return nnx.relu(self.norm(self.conv(x)))


class Separable(nnx.Module):
    """A 3x3 filter for each channel, then a 1x1 convolution: [b, h, w, i] -> [b, h / s, w / s, c]."""

    def __init__(
        self, in_channels: int, channels: int, stride: int, *, dtype: DTypeLike, rngs: nnx.Rngs
    ):
        self.depthwise = ConvNorm(
            in_channels, in_channels, 3, stride, groups=in_channels, dtype=dtype, rngs=rngs
        )
        self.pointwise = ConvNorm(in_channels, channels, 1, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.pointwise(self.depthwise(x))


class MobileNetFeatures(nnx.Module):
    """The convolutions of a MobileNet: [b, h, w, 3] -> [b, h / 32, w / 32, c], sides rounded up.

    Parameters are float32, activations are `dtype`. `train()` and `eval()`, or
    `nnx.view(model, use_running_average=...)`, choose between the statistics of the batch and the running ones.

    Attributes:
        config: what it was built from.
        out_channels: c.
        stem: the first convolution, with `conv` and `norm`.
        blocks: each with a `depthwise` and a `pointwise` convolution.
    """

    def __init__(self, config: MobileNetConfig, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        self.config = config
        channels = config.channels(_STEM_WIDTH)
        self.stem = ConvNorm(3, channels, 3, _STEM_STRIDE, dtype=dtype, rngs=rngs)
        self.blocks = nnx.List([])
        for width, stride in _BLOCKS:
            out = config.channels(width)
            self.blocks.append(Separable(channels, out, stride, dtype=dtype, rngs=rngs))
            channels = out
        self.out_channels = channels

    def output_shape(self, size: int | tuple[int, int]) -> tuple[int, int, int]:
        """(h', w', c) of the features of an image of `size` pixels, one number or (height, width).

        Raises UserError for an image without pixels.
        """
        # Under padding SAME only the strides count.
        windows = [Window(1, stride) for stride in (_STEM_STRIDE, *(s for _, s in _BLOCKS))]
        return layers.feature_shape(size, windows, self.out_channels, "MobileNet")

    def __call__(self, x: jax.Array) -> jax.Array:
        """Features [b, h', w', c] of images [b, h, w, 3].

        Raises UserError for an array of another shape.
        """
        layers.check_images(x, "MobileNet")
        self.output_shape((x.shape[1], x.shape[2]))
        x = self.stem(x)  # [b, h / 2, w / 2, 32]
        for block in self.blocks:
            x = block(x)
        return x  # [b, h / 32, w / 32, c]


class MobileNet(nnx.Module):
    """A MobileNet: images [b, h, w, 3] -> logits [b, num_classes] of the mean of its features.

    Parameters and logits are float32, activations are `dtype`. `train()` and `eval()`, or `nnx.view`, switch the
    statistics of batch normalisation.

    Attributes:
        config: what it was built from.
        features: the convolutions.
        logits: the last layer.
    """

    def __init__(self, config: MobileNetConfig, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        self.config = config
        self.features = MobileNetFeatures(config, dtype=dtype, rngs=rngs)
        kernel_init = initializers.lecun_normal()
        channels = self.features.out_channels
        self.logits = nnx.Linear(channels, config.num_classes, kernel_init=kernel_init, rngs=rngs)

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Logits [b, num_classes] of images [b, h, w, 3]; `rngs` is not used.

        Raises UserError for an array of another shape.
        """
        del rngs
        x = self.features(x)
        return self.logits(x.astype(jnp.float32).mean((1, 2)))  # [b, num_classes]
