"""MobileNetV3 (Howard et al., ICCV 2019, arXiv 1905.02244), small and large, in torchvision's form.

Inverted residuals, some with squeeze-excitation; a hard swish where a layer is deep enough for it not to cost much; and
a hidden layer behind the mean over the cells.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from convnets_jax import initializers, layers
from convnets_jax.classifiers import PooledClassifier
from convnets_jax.config_checks import check_at_least, check_dropout, field_error
from convnets_jax.inverted_residual import InvertedResidual, InvertedResidualFeatures, divisible

STEM_WIDTH = 16
_LAST = 6  # the last convolution is this many times as wide as its input

# Torch calls this momentum 0.01.
ConvNorm = partial(layers.ConvNorm, epsilon=1e-3, momentum=0.99)


class Block(NamedTuple):
    """A row of the paper's tables 1 and 2.

    Attributes:
        kernel: side of the filters.
        inside: channels that they act on, "exp size".
        channels: of the output, "#out".
        squeeze: whether there is a squeeze-excitation, "SE".
        activation: "relu" or "hard_swish", "NL".
        stride: of the filters, "s".
    """

    kernel: int
    inside: int
    channels: int
    squeeze: bool
    activation: str
    stride: int


_ACTIVATIONS = {"relu": nnx.relu, "hard_swish": nnx.hard_swish}
_LARGE = (
    Block(3, 16, 16, False, "relu", 1),
    Block(3, 64, 24, False, "relu", 2),
    Block(3, 72, 24, False, "relu", 1),
    Block(5, 72, 40, True, "relu", 2),
    Block(5, 120, 40, True, "relu", 1),
    Block(5, 120, 40, True, "relu", 1),
    Block(3, 240, 80, False, "hard_swish", 2),
    Block(3, 200, 80, False, "hard_swish", 1),
    Block(3, 184, 80, False, "hard_swish", 1),
    Block(3, 184, 80, False, "hard_swish", 1),
    Block(3, 480, 112, True, "hard_swish", 1),
    Block(3, 672, 112, True, "hard_swish", 1),
    Block(5, 672, 160, True, "hard_swish", 2),
    Block(5, 960, 160, True, "hard_swish", 1),
    Block(5, 960, 160, True, "hard_swish", 1),
)
_SMALL = (
    Block(3, 16, 16, True, "relu", 2),
    Block(3, 72, 24, False, "relu", 2),
    Block(3, 88, 24, False, "relu", 1),
    Block(5, 96, 40, True, "hard_swish", 2),
    Block(5, 240, 40, True, "hard_swish", 1),
    Block(5, 240, 40, True, "hard_swish", 1),
    Block(5, 120, 48, True, "hard_swish", 1),
    Block(5, 144, 48, True, "hard_swish", 1),
    Block(5, 288, 96, True, "hard_swish", 2),
    Block(5, 576, 96, True, "hard_swish", 1),
    Block(5, 576, 96, True, "hard_swish", 1),
)


@dataclass(frozen=True)
class MobileNetV3Config:
    """Configuration of a MobileNetV3.

    Attributes:
        blocks: the inverted residuals, at width 1.
        hidden: width of the hidden layer, at width 1.
        width: the factor on the channels of all layers.
        dropout: share of the hidden layer's outputs that is dropped in training.
        num_classes: width of the last layer.
    """

    blocks: tuple[Block, ...]
    hidden: int
    width: float = 1.0
    dropout: float = 0.2
    num_classes: int = 1000

    def __post_init__(self):
        if self.width <= 0:
            raise field_error(self, "width", "a positive factor")
        check_dropout(self, "dropout")
        check_at_least(self, 1, "hidden", "num_classes")

    def channels(self, width: int) -> int:
        """A layer's channels, given those at full width."""
        return divisible(width * self.width)


# 2,542,856 and 5,483,032 parameters.
CONFIGS = {
    "mobilenet_v3_small": MobileNetV3Config(_SMALL, 1024),
    "mobilenet_v3_large": MobileNetV3Config(_LARGE, 1280),
}


class MobileNetV3Features(InvertedResidualFeatures):
    """The convolutions of a MobileNetV3: images [b, h, w, 3] -> features [b, h / 32, w / 32, c], sides rounded up."""

    def __init__(
        self, config: MobileNetV3Config, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs
    ):
        shared = {"dtype": dtype, "rngs": rngs}
        channels = config.channels(STEM_WIDTH)
        stem = ConvNorm(3, channels, 3, 2, activation=nnx.hard_swish, **shared)
        blocks = []
        for kernel, inside, width, squeeze, activation, stride in config.blocks:
            out = config.channels(width)
            block = InvertedResidual(
                *(channels, config.channels(inside), out, kernel, stride),
                squeeze=squeeze,
                activation=_ACTIVATIONS[activation],
                conv_norm=ConvNorm,
                **shared,
            )
            blocks.append(block)
            channels = out
        last = ConvNorm(channels, _LAST * channels, 1, activation=nnx.hard_swish, **shared)
        super().__init__(config, stem, blocks, last)


class MobileNetV3(PooledClassifier):
    """A MobileNetV3 with its hidden layer, dropout and its last one: images [b, h, w, 3] -> logits [b, num_classes]."""

    def __init__(
        self, config: MobileNetV3Config, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs
    ):
        features = MobileNetV3Features(config, dtype=dtype, rngs=rngs)
        width = config.channels(config.hidden)
        super().__init__(features, width=width, dropout=config.dropout, rngs=rngs)
        shared = {"kernel_init": initializers.he_normal(), "dtype": dtype, "rngs": rngs}
        self.hidden = nnx.Linear(features.out_channels, width, **shared)

    def classify(self, features: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Logits [b, num_classes] of features [b, h', w', c]."""
        x = nnx.hard_swish(self.hidden(features.mean((1, 2))))  # [b, width]
        return self.logits(self.dropout(x.astype(jnp.float32), rngs=rngs))
