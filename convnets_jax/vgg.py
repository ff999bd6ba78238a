"""VGG (Simonyan and Zisserman, ICLR 2015, table 1): stages of 3x3 convolutions, each with a pool of 2x2 at stride 2.

F(4096) - F(4096) - F(outputs) follow. Every C and every hidden F ends in a ReLU. With batch normalisation, it stands
before the ReLU of the convolutions, whose biases stay, as in torchvision.
"""

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
Stages = tuple[tuple[int, ...], ...]

# The sides of the filters of each stage, in the paper's configurations.
_A: Stages = ((3,), (3,), (3, 3), (3, 3), (3, 3))
_B: Stages = ((3, 3), (3, 3), (3, 3), (3, 3), (3, 3))
_C: Stages = ((3, 3), (3, 3), (3, 3, 1), (3, 3, 1), (3, 3, 1))
_D: Stages = ((3, 3), (3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3))
_E: Stages = ((3, 3), (3, 3), (3, 3, 3, 3), (3, 3, 3, 3), (3, 3, 3, 3))

_BATCH_NORM_MOMENTUM = 0.9


@dataclass(frozen=True)
class VGGConfig:
    """What a VGG is built from.

    Attributes:
        kernels: of each stage, the sides of its convolutions' filters, 1 or 3.
        widths: channels of each stage.
        norm: "lrn" after the first convolution, "batch" after each convolution, or "none".
        input_size: height and width in pixels of the images that the F layers are made for.
        hidden: widths of the hidden F layers.
        dropout: the part of each hidden F layer that is dropped in training.
        num_classes: width of the last layer.
    """

    kernels: Stages
    widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    norm: Norm = "none"
    input_size: int = 224
    hidden: tuple[int, ...] = (4096, 4096)
    dropout: float = 0.5
    num_classes: int = 1000

    def __post_init__(self):
        if self.norm not in get_args(Norm):
            accepted = ", ".join(map(repr, get_args(Norm)))
            raise UserError(f"VGGConfig.norm is {self.norm!r}: use {accepted}")
        if not self.kernels or not all(self.kernels) or {*sum(self.kernels, ())} - {1, 3}:
            raise UserError(
                f"VGGConfig.kernels is {self.kernels}: give each stage one side or more, of 1 or 3"
            )
        if len(self.widths) != len(self.kernels):
            raise UserError(
                f"VGGConfig.widths is {self.widths}: give one for each of the "
                f"{len(self.kernels)} stages"
            )
        if not 0 <= self.dropout < 1:
            raise UserError(f"VGGConfig.dropout is {self.dropout}: use a part in [0, 1)")
        if min(self.input_size, *self.widths, *self.hidden, self.num_classes) < 1:
            raise UserError(f"VGGConfig holds a size below 1: {self}")

    @classmethod
    def vgg11(cls, num_classes: int = 1000) -> "VGGConfig":
        """Configuration A."""
        return cls(_A, num_classes=num_classes)

    @classmethod
    def vgg11_lrn(cls, num_classes: int = 1000) -> "VGGConfig":
        """Configuration A-LRN."""
        return cls(_A, norm="lrn", num_classes=num_classes)

    @classmethod
    def vgg11_bn(cls, num_classes: int = 1000) -> "VGGConfig":
        """Configuration A with batch normalisation."""
        return cls(_A, norm="batch", num_classes=num_classes)

    @classmethod
    def vgg13(cls, num_classes: int = 1000) -> "VGGConfig":
        """Configuration B."""
        return cls(_B, num_classes=num_classes)

    @classmethod
    def vgg13_bn(cls, num_classes: int = 1000) -> "VGGConfig":
        """Configuration B with batch normalisation."""
        return cls(_B, norm="batch", num_classes=num_classes)

    @classmethod
    def vgg16_conv1(cls, num_classes: int = 1000) -> "VGGConfig":
        """Configuration C: the third convolutions of the last three stages are 1x1."""
        return cls(_C, num_classes=num_classes)

    @classmethod
    def vgg16_conv1_bn(cls, num_classes: int = 1000) -> "VGGConfig":
        """Configuration C with batch normalisation."""
        return cls(_C, norm="batch", num_classes=num_classes)

    @classmethod
    def vgg16(cls, num_classes: int = 1000) -> "VGGConfig":
        """Configuration D."""
        return cls(_D, num_classes=num_classes)

    @classmethod
    def vgg16_bn(cls, num_classes: int = 1000) -> "VGGConfig":
        """Configuration D with batch normalisation."""
        return cls(_D, norm="batch", num_classes=num_classes)

    @classmethod
    def vgg19(cls, num_classes: int = 1000) -> "VGGConfig":
        """Configuration E."""
        return cls(_E, num_classes=num_classes)

    @classmethod
    def vgg19_bn(cls, num_classes: int = 1000) -> "VGGConfig":
        """Configuration E with batch normalisation."""
        return cls(_E, norm="batch", num_classes=num_classes)


class Stage(nnx.Module):
    """Convolutions of one width, each with a ReLU, then a pool: [b, h, w, i] -> [b, h / 2, w / 2, c]."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        kernels: tuple[int, ...],
        norm: Norm,
        *,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        self.norm: Norm = norm
        self.convs = nnx.List([])
        self.norms = nnx.List([])
        for kernel in kernels:
            self.convs.append(
                nnx.Conv(
                    in_channels,
                    channels,
                    (kernel, kernel),
                    dtype=dtype,
                    kernel_init=initializers.he_normal(),
                    rngs=rngs,
                )
            )
            if norm == "batch":
                self.norms.append(
                    nnx.BatchNorm(channels, momentum=_BATCH_NORM_MOMENTUM, dtype=dtype, rngs=rngs)
                )
            in_channels = channels

    def __call__(self, x: jax.Array) -> jax.Array:
        for i, conv in enumerate(self.convs):
            x = conv(x)
            if self.norms:
                x = self.norms[i](x)
            x = nnx.relu(x)
        if self.norm == "lrn":
            x = layers.local_response_norm(x)
        return layers.max_pool(x, 2, 2)


class VGGFeatures(nnx.Module):
    """The stages of a VGG: [b, h, w, 3] -> [b, h / 32, w / 32, c], sides rounded down.

    Parameters are float32, activations are `dtype`. With batch normalisation, `train()` and `eval()` or
    `nnx.view(model, use_running_average=...)` choose between the statistics of the batch and the running ones.

    Attributes:
        config: what it was built from.
        out_channels: c.
        stages: modules with `convs` and `norms`.
    """

    def __init__(self, config: VGGConfig, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        self.config = config
        self.out_channels = config.widths[-1]
        self.stages = nnx.List([])
        channels = 3
        for i, (width, kernels) in enumerate(zip(config.widths, config.kernels, strict=True)):
            norm = "none" if config.norm == "lrn" and i > 0 else config.norm
            self.stages.append(Stage(channels, width, kernels, norm, dtype=dtype, rngs=rngs))
            channels = width

    def output_shape(self, size: int | tuple[int, int]) -> tuple[int, int, int]:
        """(h', w', c) of the features of an image of `size` pixels, one number or (height, width).

        Raises UserError for an image that is too small for the strides.
        """
        pools = [Window(2, stride=2)] * len(self.stages)
        return layers.feature_shape(size, pools, self.out_channels, "VGG")

    def __call__(self, x: jax.Array) -> jax.Array:
        """Features [b, h', w', c] of images [b, h, w, 3].

        Raises UserError for an array of another shape and for images that are too small.
        """
        layers.check_images(x, "VGG")
        self.output_shape((x.shape[1], x.shape[2]))
        for stage in self.stages:
            x = stage(x)
        return x  # [b, h', w', c]


class VGG(nnx.Module):
    """A VGG with its F layers: images [b, h, w, 3] -> logits [b, num_classes].

    Features of images of another size than the config's are averaged to the cells that the F layers are made for, 7x7
    for 224 pixels, as in torchvision. Parameters and logits are float32, activations are `dtype`. `train()` and
    `eval()`, or `nnx.view`, switch dropout and the statistics of batch normalisation.

    Attributes:
        config: what it was built from.
        features: the stages.
        hidden: the hidden F layers.
        logits: the last layer.
    """

    def __init__(self, config: VGGConfig, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        self.config = config
        self.features = VGGFeatures(config, dtype=dtype, rngs=rngs)
        height, width, channels = self.features.output_shape(config.input_size)
        fan_in = height * width * channels
        he = initializers.he_normal()
        self.hidden = nnx.List([])
        for fan_out in config.hidden:
            self.hidden.append(nnx.Linear(fan_in, fan_out, dtype=dtype, kernel_init=he, rngs=rngs))
            fan_in = fan_out
        self.dropout = nnx.Dropout(config.dropout)
        kernel_init = initializers.normal(0.01)
        self.logits = nnx.Linear(fan_in, config.num_classes, kernel_init=kernel_init, rngs=rngs)

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Logits [b, num_classes] of images [b, h, w, 3]; in training, dropout draws from `rngs`.

        Raises UserError for an array of another shape and for images that are too small.
        """
        x = self.features(x)
        height, width, _ = self.features.output_shape(self.config.input_size)
        x = layers.adaptive_avg_pool(x, (height, width))  # [b, 7, 7, 512]
        x = x.reshape(len(x), -1)  # [b, h' w' c]
        for hidden in self.hidden:
            x = self.dropout(nnx.relu(hidden(x)), rngs=rngs)
        return self.logits(x.astype(jnp.float32))  # [b, num_classes]
