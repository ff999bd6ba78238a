"""AlexNet (Krizhevsky, Sutskever and Hinton, NIPS 2012), in one tower as DeepPose (CVPR 2014) has it, or in two.

C(96) - LRN - P - C(256) - LRN - P - C(384) - C(384) - C(256) - P - F(4096) - F(4096) - F(outputs).
Every C and every hidden F ends in a ReLU, every P is the maximum over 3x3 windows at stride 2.
torchvision's `alexnet` is narrower, after Krizhevsky's "One weird trick" (arXiv 1404.5997), and has no normalisation.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from convnets_jax import initializers, layers
from convnets_jax.layers import Window
from engine_jax.errors import UserError

Norm = Literal["lrn", "batch", "none"]
Padding = Literal["SAME", "VALID"] | int
Init = Literal["alexnet", "he", "lecun"]

_KERNELS = (5, 3, 3, 3)  # of the second convolution and on; all have stride 1 and padding SAME
_POOLED = (True, True, False, False, True)  # a pool follows the convolution
_LRN = (True, True, False, False, False)  # local response normalisation follows the convolution
_POOL = Window(3, stride=2)
_GROUPED = (False, True, False, True, True)  # with two towers, the convolution sees one of them
_BATCH_NORM_MOMENTUM = 0.9


@dataclass(frozen=True)
class AlexNetConfig:
    """What an AlexNet is built from.

    Attributes:
        input_size: height and width in pixels of the images that the F layers are made for.
        widths: channels of the five convolutions.
        first_kernel: height and width of the first convolution's filters.
        first_stride: stride of the first convolution.
        first_padding: "SAME" takes 220 pixels to 55, as in DeepPose; "VALID" takes 227 to 55; or
            pixels on each side, 2 in torchvision, which takes 224 to 55.
        towers: 1, or 2 as in the paper: convolutions 2, 4 and 5 then join only the maps of one half.
        norm: "lrn" after the ReLU of the first two convolutions, "batch" before the ReLU of every
            hidden layer, or "none".
        hidden: widths of the hidden F layers.
        dropout: the part of each hidden F layer that is dropped in training.
        num_classes: width of the last layer: classes, or 2k coordinates.
        init: "alexnet" draws weights with a standard deviation of 0.01 and sets the biases of
            convolutions 2, 4 and 5 and of the hidden F layers to 1 (section 5 of the paper); "he"
            and "lecun" scale weights by their fan-in and set biases to 0.
    """

    input_size: int = 227
    widths: tuple[int, int, int, int, int] = (96, 256, 384, 384, 256)
    first_kernel: int = 11
    first_stride: int = 4
    first_padding: Padding = "VALID"
    towers: int = 1
    norm: Norm = "lrn"
    hidden: tuple[int, ...] = (4096, 4096)
    dropout: float = 0.5
    num_classes: int = 1000
    init: Init = "alexnet"

    def __post_init__(self):
        for name, kind in (("norm", Norm), ("init", Init)):
            if getattr(self, name) not in get_args(kind):
                accepted = ", ".join(map(repr, get_args(kind)))
                raise UserError(f"AlexNetConfig.{name} is {getattr(self, name)!r}: use {accepted}")
        padding = self.first_padding
        if padding not in ("SAME", "VALID") and not (isinstance(padding, int) and padding >= 0):
            raise UserError(
                f"AlexNetConfig.first_padding is {padding!r}: use 'SAME', 'VALID' or pixels, 0 or more"
            )
        if len(self.widths) != 5:
            raise UserError(
                f"AlexNetConfig.widths is {self.widths}: give the channels of five convolutions"
            )
        if self.towers not in (1, 2) or any(width % self.towers for width in self.widths):
            raise UserError(
                f"AlexNetConfig.towers is {self.towers} for widths of {self.widths}: use 1, or 2 "
                "with even widths"
            )
        if not 0 <= self.dropout < 1:
            raise UserError(f"AlexNetConfig.dropout is {self.dropout}: use a part in [0, 1)")
        sizes = (
            self.input_size,
            *self.widths,
            self.first_kernel,
            self.first_stride,
            *self.hidden,
            self.num_classes,
        )
        if min(sizes) < 1:
            raise UserError(f"AlexNetConfig holds a size below 1: {self}")

    @classmethod
    def deeppose(cls, num_joints: int = 14) -> "AlexNetConfig":
        """DeepPose's network for k joints: 220 pixels, dropout 0.6, 2k outputs."""
        return cls(
            input_size=220, first_padding="SAME", dropout=0.6, num_classes=2 * num_joints, init="he"
        )

    @classmethod
    def alexnet_lrn(cls, num_classes: int = 1000) -> "AlexNetConfig":
        """AlexNet with local response normalisation: 62,378,344 parameters for 1000 classes."""
        return cls(num_classes=num_classes)

    @classmethod
    def alexnet_bn(cls, num_classes: int = 1000) -> "AlexNetConfig":
        """AlexNet with batch normalisation after each hidden layer."""
        return cls(norm="batch", num_classes=num_classes, init="he")

    @classmethod
    def two_towers(cls, num_classes: int = 1000) -> "AlexNetConfig":
        """AlexNet as the paper spreads it over two GPUs: 60,965,224 parameters for 1000 classes."""
        return cls(towers=2, num_classes=num_classes)

    @classmethod
    def alexnet(cls, num_classes: int = 1000) -> "AlexNetConfig":
        """torchvision's AlexNet: 61,100,840 parameters for 1000 classes.

        Dropout follows the hidden F layers, as in the paper; in torchvision it precedes them, which
        is the same network in evaluation.
        """
        return cls(
            input_size=224,
            widths=(64, 192, 384, 256, 256),
            first_padding=2,
            norm="none",
            num_classes=num_classes,
            init="he",
        )

    @classmethod
    def narrow(
        cls,
        width_multiplier: float = 0.5,
        input_size: int = 112,
        num_classes: int = 28,
        norm: Norm = "batch",
    ) -> "AlexNetConfig":
        """A narrower AlexNet for images of 96 to 128 pixels.

        The first layer is ZFNet's, 7x7 filters at stride 2. Widths are rounded up to multiples of 8.
        """
        if width_multiplier <= 0:
            raise UserError(f"width_multiplier is {width_multiplier}: use a positive factor")

        def scale(width: int) -> int:
            return math.ceil(width * width_multiplier / 8) * 8

        first, second, third, fourth, fifth = map(scale, cls.widths)
        return cls(
            input_size=input_size,
            widths=(first, second, third, fourth, fifth),
            first_kernel=7,
            first_stride=2,
            first_padding="SAME",
            norm=norm,
            hidden=tuple(map(scale, cls.hidden)),
            num_classes=num_classes,
            init="he",
        )


def _kernel_init(init: Init) -> nnx.Initializer:
    if init == "alexnet":
        return initializers.normal(0.01)
    return initializers.he_normal() if init == "he" else initializers.lecun_normal()


def _bias_init(init: Init, one: bool) -> nnx.Initializer:
    return nnx.initializers.constant(1.0 if init == "alexnet" and one else 0.0)


def _batch_norm(width: int, dtype: DTypeLike, rngs: nnx.Rngs) -> nnx.BatchNorm:
    return nnx.BatchNorm(width, momentum=_BATCH_NORM_MOMENTUM, dtype=dtype, rngs=rngs)


class AlexNetFeatures(nnx.Module):
    """The five convolutions of AlexNet with normalisation and pools: [b, h, w, 3] -> [b, h', w', c].

    Parameters are float32, activations are `dtype`. With batch normalisation, `train()` and `eval()`
    or `nnx.view(model, use_running_average=...)` choose between the statistics of the batch and the
    running ones.

    Attributes:
        config: what it was built from.
        out_channels: c.
    """

    def __init__(self, config: AlexNetConfig, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        self.config = config
        self.out_channels = config.widths[-1]
        self.convs = nnx.List([])
        self.norms = nnx.List([])
        channels = 3
        for i, (width, kernel) in enumerate(
            zip(config.widths, (config.first_kernel, *_KERNELS), strict=True)
        ):
            self.convs.append(
                nnx.Conv(
                    channels,
                    width,
                    (kernel, kernel),
                    strides=config.first_stride if i == 0 else 1,
                    padding=config.first_padding if i == 0 else "SAME",
                    feature_group_count=config.towers if _GROUPED[i] else 1,
                    dtype=dtype,
                    kernel_init=_kernel_init(config.init),
                    bias_init=_bias_init(config.init, one=i in (1, 3, 4)),
                    rngs=rngs,
                )
            )
            if config.norm == "batch":
                self.norms.append(_batch_norm(width, dtype, rngs))
            channels = width

    def output_shape(self, size: int | tuple[int, int]) -> tuple[int, int, int]:
        """(h', w', c) of the features of an image of `size` pixels, one number or (height, width).

        Raises UserError for an image that is too small for the strides.
        """
        config = self.config
        if config.first_padding == "SAME":
            first = Window(1, config.first_stride)  # only the stride counts
        else:
            padding = 0 if config.first_padding == "VALID" else config.first_padding
            first = Window(config.first_kernel, config.first_stride, padding)
        windows = [first, *[_POOL] * sum(_POOLED)]
        return layers.feature_shape(size, windows, self.out_channels, "AlexNet")

    def __call__(self, x: jax.Array) -> jax.Array:
        """Features [b, h', w', c] of images [b, h, w, 3].

        Raises UserError for an array of another shape and for images that are too small.
        """
        layers.check_images(x, "AlexNet")
        _, height, width, _ = x.shape
        self.output_shape((height, width))
        x = jnp.pad(x, ((0, 0), (0, self._unread(height)), (0, self._unread(width)), (0, 0)))
        for i, conv in enumerate(self.convs):
            x = conv(x)
            if self.norms:
                x = self.norms[i](x)
            x = nnx.relu(x)
            if self.config.norm == "lrn" and _LRN[i]:
                x = layers.local_response_norm(x)
            if _POOLED[i]:
                x = layers.max_pool(x, *_POOL)
        return x  # [b, h', w', c]

    def _unread(self, size: int) -> int:
        """Pixels to add to a side so that it is a multiple of the stride and no filter reaches them.

        227 becomes 228 with the same features, on which XLA's convolution is faster on CPU.
        """
        config = self.config
        more = -size % config.first_stride
        spare = (size - config.first_kernel) % config.first_stride + more < config.first_stride
        return more if config.first_padding == "VALID" and spare else 0


class AlexNet(nnx.Module):
    """AlexNet with its F layers: images [b, h, w, 3] -> logits [b, num_classes].

    Features of images of another size than the config's are averaged to the cells that the F layers
    are made for, as in torchvision. Parameters and logits are float32, activations are `dtype`.
    `train()` and `eval()`, or `nnx.view`, switch dropout and the statistics of batch normalisation.

    Attributes:
        config: what it was built from.
        features: the convolutions.
        hidden: the hidden F layers.
        norms: their batch normalisation, where there is one.
        logits: the last layer.
    """

    def __init__(self, config: AlexNetConfig, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        self.config = config
        self.features = AlexNetFeatures(config, dtype=dtype, rngs=rngs)
        height, width, channels = self.features.output_shape(config.input_size)
        fan_in = height * width * channels
        self.hidden = nnx.List([])
        self.norms = nnx.List([])
        kernel_init = _kernel_init(config.init)
        for fan_out in config.hidden:
            bias_init = _bias_init(config.init, one=True)
            self.hidden.append(
                nnx.Linear(
                    fan_in,
                    fan_out,
                    dtype=dtype,
                    kernel_init=kernel_init,
                    bias_init=bias_init,
                    rngs=rngs,
                )
            )
            if config.norm == "batch":
                self.norms.append(_batch_norm(fan_out, dtype, rngs))
            fan_in = fan_out
        self.dropout = nnx.Dropout(config.dropout)
        self.logits = nnx.Linear(fan_in, config.num_classes, kernel_init=kernel_init, rngs=rngs)

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Logits [b, num_classes] of images [b, h, w, 3]; in training, dropout draws from `rngs`.

        Raises UserError for an array of another shape and for images that are too small.
        """
        x = self.features(x)
        height, width, _ = self.features.output_shape(self.config.input_size)
        x = layers.adaptive_avg_pool(x, (height, width))
        x = x.reshape(len(x), -1)  # [b, h' w' c]
        for i, hidden in enumerate(self.hidden):
            x = hidden(x)
            if self.norms:
                x = self.norms[i](x)
            x = self.dropout(nnx.relu(x), rngs=rngs)
        return self.logits(x.astype(jnp.float32))  # [b, num_classes]
