"""ResNet (He et al., CVPR 2016) and its pre-activation form (He et al., ECCV 2016).

A 7x7 convolution and a pool at stride 4, four stages of residual blocks at strides 4, 8, 16 and 32, the mean over
the cells, one linear layer. Blocks are torchvision's: a bottleneck's stride is in its 3x3 convolution.
"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from convnets_jax import initializers, layers
from convnets_jax.layers import Window
from engine_jax.errors import UserError

_STRIDES = (1, 2, 2, 2)  # of the first block of each stage
_POOL = Window(3, stride=2, padding=1)
_WINDOWS = (Window(7, 2, 3), _POOL, *(Window(3, stride, 1) for stride in _STRIDES))
_BOTTLENECK = 4  # a bottleneck block's output is so many times as wide as its 3x3 convolution
_BATCH_NORM_MOMENTUM = 0.9
_BATCH_NORM_EPSILON = 1e-5


@dataclass(frozen=True)
class ResNetConfig:
    """What a ResNet is built from.

    Attributes:
        blocks: residual blocks of the four stages.
        widths: channels of the 3x3 convolutions of the four stages.
        bottleneck: blocks of 1x1, 3x3 and 1x1 convolutions, in place of two 3x3.
        pre_activation: batch norm and ReLU before each convolution (He et al., ECCV 2016), in place of after it.
        num_classes: width of the last layer.
    """

    blocks: tuple[int, int, int, int]
    widths: tuple[int, int, int, int] = (64, 128, 256, 512)
    bottleneck: bool = False
    pre_activation: bool = False
    num_classes: int = 1000

    def __post_init__(self):
        for name in ("blocks", "widths"):
            value = getattr(self, name)
            if len(value) != 4 or min(value) < 1:
                raise UserError(f"ResNetConfig.{name} is {value}: give four numbers, 1 or more")
        if self.num_classes < 1:
            raise UserError(f"ResNetConfig.num_classes is {self.num_classes}: use 1 or more")

    @property
    def map_channels(self) -> tuple[int, int, int, int]:
        """Channels of the outputs of the four stages."""
        first, second, third, fourth = self.widths
        times = _BOTTLENECK if self.bottleneck else 1
        return first * times, second * times, third * times, fourth * times

    @classmethod
    def resnet18(cls, num_classes: int = 1000) -> "ResNetConfig":
        """18 layers: 11,689,512 parameters for 1000 classes."""
        return cls((2, 2, 2, 2), num_classes=num_classes)

    @classmethod
    def resnet34(cls, num_classes: int = 1000) -> "ResNetConfig":
        """34 layers: 21,797,672 parameters for 1000 classes."""
        return cls((3, 4, 6, 3), num_classes=num_classes)

    @classmethod
    def resnet50(cls, num_classes: int = 1000) -> "ResNetConfig":
        """50 layers in bottleneck blocks: 25,557,032 parameters for 1000 classes."""
        return cls((3, 4, 6, 3), bottleneck=True, num_classes=num_classes)

    @classmethod
    def resnet101(cls, num_classes: int = 1000) -> "ResNetConfig":
        """101 layers in bottleneck blocks: 44,549,160 parameters for 1000 classes."""
        return cls((3, 4, 23, 3), bottleneck=True, num_classes=num_classes)

    @classmethod
    def resnet152(cls, num_classes: int = 1000) -> "ResNetConfig":
        """152 layers in bottleneck blocks: 60,192,808 parameters for 1000 classes."""
        return cls((3, 8, 36, 3), bottleneck=True, num_classes=num_classes)

    @classmethod
    def preact_resnet18(cls, num_classes: int = 1000) -> "ResNetConfig":
        """`resnet18` with pre-activation blocks."""
        return replace(cls.resnet18(num_classes), pre_activation=True)

    @classmethod
    def preact_resnet34(cls, num_classes: int = 1000) -> "ResNetConfig":
        """`resnet34` with pre-activation blocks."""
        return replace(cls.resnet34(num_classes), pre_activation=True)

    @classmethod
    def preact_resnet50(cls, num_classes: int = 1000) -> "ResNetConfig":
        """`resnet50` with pre-activation blocks."""
        return replace(cls.resnet50(num_classes), pre_activation=True)

    @classmethod
    def preact_resnet101(cls, num_classes: int = 1000) -> "ResNetConfig":
        """`resnet101` with pre-activation blocks."""
        return replace(cls.resnet101(num_classes), pre_activation=True)

    @classmethod
    def preact_resnet152(cls, num_classes: int = 1000) -> "ResNetConfig":
        """`resnet152` with pre-activation blocks."""
        return replace(cls.resnet152(num_classes), pre_activation=True)


def _conv(
    in_channels: int, out_channels: int, kernel: int, stride: int, dtype: DTypeLike, rngs: nnx.Rngs
) -> nnx.Conv:
    """A convolution beside a batch norm, which makes a bias idle.

    Padding is the same on both sides, as torch has it; SAME would differ at stride 2.
    """
    return nnx.Conv(
        in_channels,
        out_channels,
        (kernel, kernel),
        strides=stride,
        padding=kernel // 2,
        use_bias=False,
        dtype=dtype,
        kernel_init=initializers.he_normal(),
        rngs=rngs,
    )


def _norm(channels: int, dtype: DTypeLike, rngs: nnx.Rngs) -> nnx.BatchNorm:
    return nnx.BatchNorm(
        channels,
        momentum=_BATCH_NORM_MOMENTUM,
        epsilon=_BATCH_NORM_EPSILON,
        dtype=dtype,
        rngs=rngs,
    )


class Shortcut(nnx.Module):
    """A 1x1 convolution and a norm, where a block changes stride or width."""

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, *, dtype: DTypeLike, rngs: nnx.Rngs
    ):
        self.conv = _conv(in_channels, out_channels, 1, stride, dtype, rngs)
        self.norm = _norm(out_channels, dtype, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.norm(self.conv(x))  # [b, h / stride, w / stride, out_channels]


class Block(nnx.Module):
    """relu(shortcut(x) + F(x)), F two 3x3 convolutions or a bottleneck's three, each with a norm (2016, figure 5)."""

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int,
        *,
        bottleneck: bool,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        out_channels = _BOTTLENECK * width if bottleneck else width
        kernel, strides = (1, (1, stride)) if bottleneck else (3, (stride, 1))
        self.conv1 = _conv(in_channels, width, kernel, strides[0], dtype, rngs)
        self.norm1 = _norm(width, dtype, rngs)
        self.conv2 = _conv(width, width, 3, strides[1], dtype, rngs)
        self.norm2 = _norm(width, dtype, rngs)
        self.conv3 = _conv(width, out_channels, 1, 1, dtype, rngs) if bottleneck else None
        self.norm3 = _norm(out_channels, dtype, rngs) if bottleneck else None
        self.shortcut = (
            Shortcut(in_channels, out_channels, stride, dtype=dtype, rngs=rngs)
            if stride > 1 or in_channels != out_channels
            else None
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        y = nnx.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        if self.conv3 is not None and self.norm3 is not None:
            y = self.norm3(self.conv3(nnx.relu(y)))
        return nnx.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class PreActivationBlock(nnx.Module):
    """shortcut(x) + F(x), F with a norm and a ReLU before each convolution (ECCV 2016, figure 4e and appendix).

    Where stride or width changes, the shortcut is a 1x1 convolution of the normed and activated x. The network's first
    block gets its x activated, and has no first norm.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int,
        *,
        bottleneck: bool,
        first: bool,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        out_channels = _BOTTLENECK * width if bottleneck else width
        kernel, strides = (1, (1, stride)) if bottleneck else (3, (stride, 1))
        self.norm1 = None if first else _norm(in_channels, dtype, rngs)
        self.conv1 = _conv(in_channels, width, kernel, strides[0], dtype, rngs)
        self.norm2 = _norm(width, dtype, rngs)
        self.conv2 = _conv(width, width, 3, strides[1], dtype, rngs)
        self.norm3 = _norm(width, dtype, rngs) if bottleneck else None
        self.conv3 = _conv(width, out_channels, 1, 1, dtype, rngs) if bottleneck else None
        self.shortcut = (
            _conv(in_channels, out_channels, 1, stride, dtype, rngs)
            if stride > 1 or in_channels != out_channels
            else None
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        activated = x if self.norm1 is None else nnx.relu(self.norm1(x))
        y = self.conv1(activated)
        y = self.conv2(nnx.relu(self.norm2(y)))
        if self.norm3 is not None and self.conv3 is not None:
            y = self.conv3(nnx.relu(self.norm3(y)))
        return y + (x if self.shortcut is None else self.shortcut(activated))


class Stage(nnx.Module):
    """Residual blocks, the first of which changes stride and width."""

    def __init__(self, blocks: list[Block] | list[PreActivationBlock]):
        self.blocks = nnx.List(blocks)

    def __call__(self, x: jax.Array) -> jax.Array:
        for block in self.blocks:
            x = block(x)
        return x


class ResNetFeatures(nnx.Module):
    """The convolutions of a ResNet: images [b, h, w, 3] -> features [b, h / 32, w / 32, c], sides rounded up.

    Parameters are float32, activations are `dtype`. `train()` and `eval()`, or
    `nnx.view(model, use_running_average=...)`, choose between the statistics of the batch and the running ones.

    Attributes:
        config: what it was built from.
        out_channels: c.
        map_channels: channels of the four maps of `maps`.
    """

    def __init__(self, config: ResNetConfig, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        self.config = config
        self.map_channels = config.map_channels
        self.out_channels = self.map_channels[-1]
        channels = config.widths[0]
        self.conv = _conv(3, channels, 7, 2, dtype, rngs)
        self.norm = _norm(channels, dtype, rngs)
        self.stages = nnx.List([])
        for i, (width, out_channels) in enumerate(
            zip(config.widths, self.map_channels, strict=True)
        ):
            blocks = []
            for j in range(config.blocks[i]):
                stride = _STRIDES[i] if j == 0 else 1
                shared = {"bottleneck": config.bottleneck, "dtype": dtype, "rngs": rngs}
                if config.pre_activation:
                    first = i == j == 0
                    blocks.append(
                        PreActivationBlock(channels, width, stride, first=first, **shared)
                    )
                else:
                    blocks.append(Block(channels, width, stride, **shared))
                channels = out_channels
            self.stages.append(Stage(blocks))
        self.last_norm = _norm(channels, dtype, rngs) if config.pre_activation else None

    def output_shape(self, size: int | tuple[int, int]) -> tuple[int, int, int]:
        """(h', w', c) of the features of an image of `size` pixels, one number or (height, width).

        Raises UserError for a side below 1: any other will do.
        """
        return layers.feature_shape(size, _WINDOWS, self.out_channels, "ResNet")

    def maps(self, x: jax.Array) -> list[jax.Array]:
        """The outputs of the four stages, [b, h_i, w_i, c_i] at strides 4, 8, 16 and 32, of images [b, h, w, 3].

        The last is the features. In the pre-activation form the others are sums without norm and activation.

        Raises UserError for an array of another shape.
        """
        layers.check_images(x, "a ResNet")
        self.output_shape((x.shape[1], x.shape[2]))
        x = nnx.relu(self.norm(self.conv(x)))  # [b, h / 2, w / 2, c]
        x = layers.max_pool(x, *_POOL)  # [b, h / 4, w / 4, c]
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        if self.last_norm is not None:
            maps[-1] = nnx.relu(self.last_norm(x))
        return maps

    def __call__(self, x: jax.Array) -> jax.Array:
        """Features [b, h / 32, w / 32, c] of images [b, h, w, 3]; raises what `maps` raises."""
        return self.maps(x)[-1]


class ResNet(nnx.Module):
    """A ResNet with its linear layer: images [b, h, w, 3] -> logits [b, num_classes].

    Parameters and logits are float32, activations are `dtype`. `train()` and `eval()`, or `nnx.view`, switch the
    statistics of batch normalisation.
    """

    def __init__(self, config: ResNetConfig, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        self.config = config
        self.features = ResNetFeatures(config, dtype=dtype, rngs=rngs)
        self.logits = nnx.Linear(
            self.features.out_channels,
            config.num_classes,
            kernel_init=initializers.lecun_normal(),
            rngs=rngs,
        )

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Logits [b, num_classes] of images [b, h, w, 3]. `rngs` is for the form of the other classifiers: no dropout.

        Raises UserError for an array of another shape.
        """
        del rngs
        x = self.features(x).mean((1, 2), dtype=jnp.float32)  # [b, c]
        return self.logits(x)  # [b, num_classes]
