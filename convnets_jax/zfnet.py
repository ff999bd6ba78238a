"""ZFNet (Zeiler and Fergus, ECCV 2014, figure 3): AlexNet with smaller filters and strides at its start.

C(96) - P - LRN - C(256) - P - LRN - C(384) - C(384) - C(256) - P - F(4096) - F(4096) - F(outputs), in the notation of
`convnets_jax.alexnet`. The paper doesn't print its padding: one pixel around the first convolution and the first two
pools gives the sizes of its figure, 110, 55, 26, 13 and 6.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from convnets_jax import initializers, layers, pooling
from convnets_jax.classifiers import FullyConnectedClassifier
from convnets_jax.config_checks import check_at_least, check_dropout, field_error
from convnets_jax.features import Features, Window

_CONVS = (Window(7, 2, 1), Window(5, 2), Window(3, 1, 1), Window(3, 1, 1), Window(3, 1, 1))
_POOLS = (Window(3, 2, 1), Window(3, 2, 1), None, None, Window(3, 2))
_WINDOWS = [w for pair in zip(_CONVS, _POOLS, strict=True) for w in pair if w is not None]
_LRN = (True, True, False, False, False)  # local response normalisation follows the pool


@dataclass(frozen=True)
class ZFNetConfig:
    """Configuration of a ZFNet.

    Attributes:
        input_size: height and width in pixels of the images that the fully connected layers are made for.
        widths: channels of the five convolutions.
        hidden: widths of the hidden fully connected layers.
        dropout: share of the hidden layers' outputs that is dropped in training.
        num_classes: width of the last layer.
    """

    input_size: int = 224
    widths: tuple[int, int, int, int, int] = (96, 256, 384, 384, 256)
    hidden: tuple[int, ...] = (4096, 4096)
    dropout: float = 0.5
    num_classes: int = 1000

    def __post_init__(self):
        if len(self.widths) != len(_CONVS):
            raise field_error(self, "widths", "the channels of five convolutions")
        check_dropout(self, "dropout")
        check_at_least(self, 1, "input_size", "widths", "hidden", "num_classes")


CONFIGS = {"zfnet": ZFNetConfig()}  # 62,357,608 parameters for 1000 classes


class ZFNetFeatures(Features):
    """The five convolutions of ZFNet with normalisation and pools: [b, h, w, 3] -> [b, h', w', c].

    Weights are scaled by their fan-in: with the paper's standard deviation of 0.01 training starts slowly.
    """

    def __init__(self, config: ZFNetConfig, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        self.config = config
        self.out_channels = config.widths[-1]
        self.convs = nnx.List([])
        channels = 3
        shared = {"bias": True, "dtype": dtype, "rngs": rngs}
        for width, (size, stride, padding) in zip(config.widths, _CONVS, strict=True):
            conv = layers.conv(channels, width, size, stride, padding=padding, **shared)
            self.convs.append(conv)
            channels = width

    def windows(self) -> list[Window]:
        return _WINDOWS

    def __call__(self, x: jax.Array) -> jax.Array:
        self.check(x)
        for conv, pool, normalised in zip(self.convs, _POOLS, _LRN, strict=True):
            x = nnx.relu(conv(x))
            if pool is not None:
                x = pooling.max_pool(x, *pool)
            if normalised:
                x = layers.local_response_norm(x)
        return x  # [b, h', w', c]


class ZFNet(FullyConnectedClassifier):
    """ZFNet with its fully connected layers: images [b, h, w, 3] -> logits [b, num_classes]."""

    def __init__(self, config: ZFNetConfig, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        features = ZFNetFeatures(config, dtype=dtype, rngs=rngs)
        super().__init__(features, logits_init=initializers.lecun_normal(), dtype=dtype, rngs=rngs)
