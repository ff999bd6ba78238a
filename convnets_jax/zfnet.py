"""ZFNet (Zeiler and Fergus, ECCV 2014, figure 3): AlexNet with smaller filters and strides at its start.

C(96) - P - LRN - C(256) - P - LRN - C(384) - C(384) - C(256) - P - F(4096) - F(4096) - F(outputs). Every C and every
hidden F ends in a ReLU, every P is the maximum over 3x3 windows at stride 2. The paper doesn't print its padding: one
pixel around the first convolution and the first two pools gives the sizes of its figure, 110, 55, 26, 13 and 6.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from convnets_jax import initializers, layers
from convnets_jax.layers import Window
from engine_jax.errors import UserError

_CONVS = (Window(7, 2, 1), Window(5, 2), Window(3, 1, 1), Window(3, 1, 1), Window(3, 1, 1))
_POOLS = (Window(3, 2, 1), Window(3, 2, 1), None, None, Window(3, 2))
_WINDOWS = [w for pair in zip(_CONVS, _POOLS, strict=True) for w in pair if w is not None]
_LRN = (True, True, False, False, False)  # local response normalisation follows the pool


@dataclass(frozen=True)
class ZFNetConfig:
    """What a ZFNet is built from.

    Attributes:
        input_size: height and width in pixels of the images that the F layers are made for.
        widths: channels of the five convolutions.
        hidden: widths of the hidden F layers.
        dropout: the part of each hidden F layer that is dropped in training.
        num_classes: width of the last layer.
    """

    input_size: int = 224
    widths: tuple[int, int, int, int, int] = (96, 256, 384, 384, 256)
    hidden: tuple[int, ...] = (4096, 4096)
    dropout: float = 0.5
    num_classes: int = 1000

    def __post_init__(self):
        if len(self.widths) != len(_CONVS):
            raise UserError(
                f"ZFNetConfig.widths is {self.widths}: give the channels of five convolutions"
            )
        if not 0 <= self.dropout < 1:
            raise UserError(f"ZFNetConfig.dropout is {self.dropout}: use a part in [0, 1)")
        if min(self.input_size, *self.widths, *self.hidden, self.num_classes) < 1:
            raise UserError(f"ZFNetConfig holds a size below 1: {self}")

    @classmethod
    def zfnet(cls, num_classes: int = 1000) -> "ZFNetConfig":
        """The network of the paper's figure 3: 62,357,608 parameters for 1000 classes."""
        return cls(num_classes=num_classes)


class ZFNetFeatures(nnx.Module):
    """The five convolutions of ZFNet with normalisation and pools: [b, h, w, 3] -> [b, h', w', c].

    Parameters are float32, activations are `dtype`. Weights are scaled by their fan-in: with the paper's 0.01 for all
    of them training starts slowly.

    Attributes:
        config: what it was built from.
        out_channels: c.
    """

    def __init__(self, config: ZFNetConfig, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        self.config = config
        self.out_channels = config.widths[-1]
        self.convs = nnx.List([])
        channels = 3
        for width, window in zip(config.widths, _CONVS, strict=True):
            self.convs.append(
                nnx.Conv(
                    channels,
                    width,
                    (window.size, window.size),
                    strides=window.stride,
                    padding=window.padding,
                    dtype=dtype,
                    kernel_init=initializers.he_normal(),
                    rngs=rngs,
                )
            )
            channels = width

    def output_shape(self, size: int | tuple[int, int]) -> tuple[int, int, int]:
        """(h', w', c) of the features of an image of `size` pixels, one number or (height, width).

        Raises UserError for an image that is too small for the strides.
        """
        return layers.feature_shape(size, _WINDOWS, self.out_channels, "ZFNet")

    def __call__(self, x: jax.Array) -> jax.Array:
        """Features [b, h', w', c] of images [b, h, w, 3].

        Raises UserError for an array of another shape and for images that are too small.
        """
        layers.check_images(x, "ZFNet")
        self.output_shape((x.shape[1], x.shape[2]))
        for conv, pool, normalised in zip(self.convs, _POOLS, _LRN, strict=True):
            x = nnx.relu(conv(x))
            if pool is not None:
                x = layers.max_pool(x, *pool)
            if normalised:
                x = layers.local_response_norm(x)
        return x  # [b, h', w', c]


class ZFNet(nnx.Module):
    """ZFNet with its F layers: images [b, h, w, 3] -> logits [b, num_classes].

    Features of images of another size than the config's are averaged to the cells that the F layers are made for.
    Parameters and logits are float32, activations are `dtype`. `train()` and `eval()`, or `nnx.view`, switch dropout.

    Attributes:
        config: what it was built from.
        features: the convolutions.
        hidden: the hidden F layers.
        logits: the last layer.
    """

    def __init__(self, config: ZFNetConfig, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        self.config = config
        self.features = ZFNetFeatures(config, dtype=dtype, rngs=rngs)
        height, width, channels = self.features.output_shape(config.input_size)
        fan_in = height * width * channels
        he = initializers.he_normal()
        self.hidden = nnx.List([])
        for fan_out in config.hidden:
            self.hidden.append(nnx.Linear(fan_in, fan_out, dtype=dtype, kernel_init=he, rngs=rngs))
            fan_in = fan_out
        self.dropout = nnx.Dropout(config.dropout)
        kernel_init = initializers.lecun_normal()
        self.logits = nnx.Linear(fan_in, config.num_classes, kernel_init=kernel_init, rngs=rngs)

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Logits [b, num_classes] of images [b, h, w, 3]; in training, dropout draws from `rngs`.

        Raises UserError for an array of another shape and for images that are too small.
        """
        x = self.features(x)
        height, width, _ = self.features.output_shape(self.config.input_size)
        x = layers.adaptive_avg_pool(x, (height, width))
        x = x.reshape(len(x), -1)  # [b, h' w' c]
        for hidden in self.hidden:
            x = self.dropout(nnx.relu(hidden(x)), rngs=rngs)
        return self.logits(x.astype(jnp.float32))  # [b, num_classes]
