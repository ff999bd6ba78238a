"""AlexNet (Krizhevsky, Sutskever and Hinton, NIPS 2012) in one tower, as DeepPose (CVPR 2014) has it.

C(96) - LRN - P - C(256) - LRN - P - C(384) - C(384) - C(256) - P - F(4096) - F(4096) - F(outputs).
Every C and every hidden F ends in a ReLU, every P is the maximum over 3x3 windows at stride 2.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from convnets_jax import initializers, layers
from engine_jax.errors import UserError

Norm = Literal["lrn", "batch", "none"]
Padding = Literal["SAME", "VALID"]
Init = Literal["alexnet", "he", "lecun"]

_KERNELS = (5, 3, 3, 3)  # of the second convolution and on; all have stride 1 and padding SAME
_POOLED = (True, True, False, False, True)  # a pool follows the convolution
_LRN = (True, True, False, False, False)  # local response normalisation follows the convolution
_POOL_WINDOW, _POOL_STRIDE = 3, 2
_BATCH_NORM_MOMENTUM = 0.9


@dataclass(frozen=True)
class AlexNetConfig:
    """What an AlexNet is built from.

    Attributes:
        input_size: height and width in pixels of the images that the F layers are made for. The
            features alone take any size.
        widths: channels of the five convolutions.
        first_kernel: height and width of the first convolution's filters.
        first_stride: stride of the first convolution.
        first_padding: "SAME" takes 220 pixels to 55, as in DeepPose; "VALID" takes 227 to 55.
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
    norm: Norm = "lrn"
    hidden: tuple[int, ...] = (4096, 4096)
    dropout: float = 0.5
    num_classes: int = 1000
    init: Init = "alexnet"

    def __post_init__(self):
        for name, kind in (("norm", Norm), ("first_padding", Padding), ("init", Init)):
            if getattr(self, name) not in get_args(kind):
                accepted = ", ".join(map(repr, get_args(kind)))
                raise UserError(f"AlexNetConfig.{name} is {getattr(self, name)!r}: use {accepted}")
        if len(self.widths) != 5:
            raise UserError(
                f"AlexNetConfig.widths is {self.widths}: give the channels of five convolutions"
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
        height, width = (size, size) if isinstance(size, int) else size
        return self._output_size(height), self._output_size(width), self.out_channels

    def _output_size(self, size: int) -> int:
        config = self.config
        if config.first_padding == "SAME":
            out = -(-size // config.first_stride)
        else:
            out = (size - config.first_kernel) // config.first_stride + 1
        for _ in range(sum(_POOLED)):
            out = (out - _POOL_WINDOW) // _POOL_STRIDE + 1
        if out < 1:
            raise UserError(
                f"an image side of {size} px is too small for this AlexNet: its strides "
                f"need at least {self._smallest_input()} px"
            )
        return out

    def _smallest_input(self) -> int:
        side = 1
        for _ in range(sum(_POOLED)):
            side = (side - 1) * _POOL_STRIDE + _POOL_WINDOW
        side = (side - 1) * self.config.first_stride
        return side + (1 if self.config.first_padding == "SAME" else self.config.first_kernel)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Features [b, h', w', c] of images [b, h, w, 3].

        Raises UserError for an array of another shape and for images that are too small.
        """
        if x.ndim != 4 or x.shape[-1] != 3:
            raise UserError(
                f"AlexNet takes images [b, h, w, 3], it got an array of shape {x.shape}"
            )
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
                x = layers.max_pool(x, _POOL_WINDOW, _POOL_STRIDE)
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
    """AlexNet with its F layers: images [b, s, s, 3] of the config's size -> logits [b, num_classes].

    Parameters and logits are float32, activations are `dtype`. `train()` and `eval()`, or `nnx.view`,
    switch dropout and the statistics of batch normalisation.
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
        self.dropout = nnx.Dropout(config.dropout, rngs=rngs)
        self.logits = nnx.Linear(fan_in, config.num_classes, kernel_init=kernel_init, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits [b, num_classes] of images [b, s, s, 3].

        Raises UserError for an array of another shape or size.
        """
        size = self.config.input_size
        if x.shape[1:] != (size, size, 3):
            raise UserError(
                f"this AlexNet takes images [b, {size}, {size}, 3], "
                f"it got an array of shape {x.shape}"
            )
        x = self.features(x)
        x = x.reshape(x.shape[0], -1)  # [b, h' w' c]
        for i, hidden in enumerate(self.hidden):
            x = hidden(x)
            if self.norms:
                x = self.norms[i](x)
            x = self.dropout(nnx.relu(x))
        return self.logits(x.astype(jnp.float32))  # [b, num_classes]
