"""MobileNetV2 (Sandler et al., CVPR 2018, arXiv 1801.04381): inverted residuals, in torchvision's form.

A block widens its input by a 1x1 convolution, filters each channel, and narrows it again without an activation; where
its shape allows, its input is added. Activations are ReLU6.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from convnets_jax import layers
from convnets_jax.classifiers import PooledClassifier
from convnets_jax.config_checks import check_at_least, check_dropout, field_error
from convnets_jax.features import Features, Window

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

ConvNorm = partial(layers.ConvNorm, activation=nnx.relu6)


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


def divisible(channels: float) -> int:
    """The nearest multiple of 8, at least 8, or the next one if that would leave out more than a tenth."""
    nearest = max(int(channels + 4) // 8 * 8, 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8


class InvertedResidual(nnx.Module):
    """A 1x1 convolution, a 3x3 filter for each channel, a linear 1x1 convolution: [b, h, w, i] -> [b, h / s, w / s, c].

    Attributes:
        stride: s.
        expand: the first of them, None where it wouldn't widen.
        depthwise: the second.
        project: the third.
        residual: whether the input is added, as at stride 1 with as many channels as the output.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        expansion: int,
        *,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        inside = in_channels * expansion
        self.stride = stride
        self.residual = stride == 1 and in_channels == channels
        self.expand = (
            ConvNorm(in_channels, inside, 1, dtype=dtype, rngs=rngs) if expansion > 1 else None
        )
        self.depthwise = ConvNorm(inside, inside, 3, stride, groups=inside, dtype=dtype, rngs=rngs)
        self.project = layers.ConvNorm(inside, channels, 1, activation=None, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = x if self.expand is None else self.expand(x)
        y = self.project(self.depthwise(y))
        return x + y if self.residual else y


class MobileNetV2Features(Features):
    """The convolutions of a MobileNetV2: images [b, h, w, 3] -> features [b, h / 32, w / 32, c], sides rounded up.

    Attributes:
        config: its configuration.
        out_channels: c.
        map_channels: channels of the four maps of `maps`.
        stem: the first convolution.
        blocks: the inverted residuals.
        last: the 1x1 convolution to c channels.
    """

    def __init__(
        self, config: MobileNetV2Config, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs
    ):
        self.config = config
        channels = config.channels(_STEM_WIDTH)
        self.stem = ConvNorm(3, channels, 3, 2, dtype=dtype, rngs=rngs)
        self.blocks = nnx.List([])
        widths = []
        for expansion, width, count, first_stride in _STAGES:
            for stride in (first_stride, *[1] * (count - 1)):
                if stride > 1:
                    widths.append(channels)
                out = config.channels(width)
                block = InvertedResidual(channels, out, stride, expansion, dtype=dtype, rngs=rngs)
                self.blocks.append(block)
                channels = out
        self.out_channels = divisible(_LAST_WIDTH * max(config.width, 1.0))
        self.map_channels = (*widths[1:], self.out_channels)
        self.last = ConvNorm(channels, self.out_channels, 1, dtype=dtype, rngs=rngs)

    def windows(self) -> list[Window]:
        return [Window(3, stride, 1) for stride in (2, *(block.stride for block in self.blocks))]

    def maps(self, x: jax.Array) -> list[jax.Array]:
        """[b, h_i, w_i, c_i] at strides 4, 8, 16 and 32, of images [b, h, w, 3].

        The last is the features, the others are the last blocks' outputs at their strides, which have no activation.

        Raises UserError for an array of another shape.
        """
        self.check(x)
        x = self.stem(x)  # [b, h / 2, w / 2, 32]
        before_strides = []
        for block in self.blocks:
            if block.stride > 1:
                before_strides.append(x)
            x = block(x)
        return [*before_strides[1:], self.last(x)]

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.maps(x)[-1]


class MobileNetV2(PooledClassifier):
    """A MobileNetV2 with dropout and its linear layer: images [b, h, w, 3] -> logits [b, num_classes]."""

    def __init__(
        self, config: MobileNetV2Config, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs
    ):
        features = MobileNetV2Features(config, dtype=dtype, rngs=rngs)
        super().__init__(features, dropout=config.dropout, rngs=rngs)
