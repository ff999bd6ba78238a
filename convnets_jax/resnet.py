"""ResNet (He et al., CVPR 2016), its pre-activation form (He et al., ECCV 2016), and two wider ones.

A 7x7 convolution and a pool at stride 4, four stages of residual blocks at strides 4, 8, 16 and 32, the mean over
the cells, one linear layer. Blocks are torchvision's: a bottleneck's stride is in its 3x3 convolution. That is wider in
wide ResNets (Zagoruyko and Komodakis, BMVC 2016), and in ResNeXt in groups too (Xie et al., CVPR 2017).
"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from convnets_jax import pooling
from convnets_jax.classifiers import PooledClassifier
from convnets_jax.config_checks import check_at_least, field_error
from convnets_jax.features import Features, Window
from convnets_jax.layers import batch_norm, conv

_STRIDES = (1, 2, 2, 2)  # of the first block of each stage
_POOL = Window(3, stride=2, padding=1)
_WINDOWS = (Window(7, 2, 3), _POOL, *(Window(3, stride, 1) for stride in _STRIDES))
_BOTTLENECK = 4  # a bottleneck block's output is this many times as wide as its 3x3 convolution


@dataclass(frozen=True)
class ResNetConfig:
    """Configuration of a ResNet.

    Attributes:
        blocks: residual blocks of the four stages.
        widths: channels of the 3x3 convolutions of the four stages.
        bottleneck: whether blocks are 1x1, 3x3 and 1x1 convolutions instead of two 3x3.
        pre_activation: whether batch norm and ReLU precede each convolution (He et al., ECCV 2016) instead of
            following it.
        widening: factor on the channels of a bottleneck's 3x3 convolutions; the output of its block stays as wide.
        groups: of a bottleneck's 3x3 convolutions, each of which reads and writes a part of the channels.
        num_classes: width of the last layer.
    """

    blocks: tuple[int, int, int, int]
    widths: tuple[int, int, int, int] = (64, 128, 256, 512)
    bottleneck: bool = False
    pre_activation: bool = False
    widening: int = 1
    groups: int = 1
    num_classes: int = 1000

    def __post_init__(self):
        for name in ("blocks", "widths"):
            if len(getattr(self, name)) != 4:
                raise field_error(self, name, "four numbers, 1 or more")
        check_at_least(self, 1, "blocks", "widths", "widening", "groups", "num_classes")
        for name in () if self.bottleneck else ("widening", "groups"):
            if getattr(self, name) > 1:
                raise field_error(self, name, "1 without bottleneck")
        if any(self.widening * width % self.groups for width in self.widths):
            raise field_error(self, "groups", "a divisor of all widths times widening")

    @property
    def map_channels(self) -> tuple[int, ...]:
        """Channels of the outputs of the four stages."""
        return tuple(self.expansion * width for width in self.widths)

    @property
    def expansion(self) -> int:
        """How many times as wide as its 3x3 convolution a block's output is."""
        return _BOTTLENECK if self.bottleneck else 1


_RESNETS = {
    "resnet18": ResNetConfig((2, 2, 2, 2)),
    "resnet34": ResNetConfig((3, 4, 6, 3)),
    "resnet50": ResNetConfig((3, 4, 6, 3), bottleneck=True),
    "resnet101": ResNetConfig((3, 4, 23, 3), bottleneck=True),
    "resnet152": ResNetConfig((3, 8, 36, 3), bottleneck=True),
}
CONFIGS = _RESNETS | {
    f"preact_{name}": replace(config, pre_activation=True) for name, config in _RESNETS.items()
}
CONFIGS |= {
    "resnext50_32x4d": replace(_RESNETS["resnet50"], widening=2, groups=32),
    "wide_resnet50_2": replace(_RESNETS["resnet50"], widening=2),
}


class Shortcut(nnx.Module):
    """A 1x1 convolution and a norm, where a block changes stride or width."""

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, *, dtype: DTypeLike, rngs: nnx.Rngs
    ):
        self.conv = conv(in_channels, out_channels, 1, stride, dtype=dtype, rngs=rngs)
        self.norm = batch_norm(out_channels, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.norm(self.conv(x))  # [b, h / stride, w / stride, out_channels]


class Block(nnx.Module):
    """relu(shortcut(x) + F(x)), F two 3x3 convolutions or a bottleneck's three, each with a norm (2016, figure 5)."""

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int,
        config: ResNetConfig,
        *,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        shared = {"dtype": dtype, "rngs": rngs}
        inside, out_channels = config.widening * width, config.expansion * width
        changed = stride > 1 or in_channels != out_channels
        bottleneck = config.bottleneck
        kernel, strides = (1, (1, stride)) if bottleneck else (3, (stride, 1))
        self.conv1 = conv(in_channels, inside, kernel, strides[0], **shared)
        self.norm1 = batch_norm(inside, **shared)
        self.conv2 = conv(inside, inside, 3, strides[1], groups=config.groups, **shared)
        self.norm2 = batch_norm(inside, **shared)
        self.conv3 = conv(inside, out_channels, 1, **shared) if bottleneck else None
        self.norm3 = batch_norm(out_channels, **shared) if bottleneck else None
        self.shortcut = Shortcut(in_channels, out_channels, stride, **shared) if changed else None

    def __call__(self, x: jax.Array) -> jax.Array:
        y = nnx.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        if self.conv3 is not None and self.norm3 is not None:
            y = self.norm3(self.conv3(nnx.relu(y)))
        return nnx.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class PreActivationBlock(nnx.Module):
    """shortcut(x) + F(x), F with a norm and a ReLU before each convolution (ECCV 2016, figure 4e and appendix).

    Where stride or width changes, the shortcut is a 1x1 convolution of the normalised and activated x. The input of the
    network's first block is activated already, so that block has no first norm.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int,
        config: ResNetConfig,
        *,
        first: bool,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        shared = {"dtype": dtype, "rngs": rngs}
        inside, out_channels = config.widening * width, config.expansion * width
        changed = stride > 1 or in_channels != out_channels
        bottleneck = config.bottleneck
        kernel, strides = (1, (1, stride)) if bottleneck else (3, (stride, 1))
        self.norm1 = None if first else batch_norm(in_channels, **shared)
        self.conv1 = conv(in_channels, inside, kernel, strides[0], **shared)
        self.norm2 = batch_norm(inside, **shared)
        self.conv2 = conv(inside, inside, 3, strides[1], groups=config.groups, **shared)
        self.norm3 = batch_norm(inside, **shared) if bottleneck else None
        self.conv3 = conv(inside, out_channels, 1, **shared) if bottleneck else None
        self.shortcut = conv(in_channels, out_channels, 1, stride, **shared) if changed else None

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


class ResNetFeatures(Features):
    """The convolutions of a ResNet: images [b, h, w, 3] -> features [b, h / 32, w / 32, c], sides rounded up.

    Attributes:
        config: its configuration.
        out_channels: c.
        map_channels: channels of the four maps of `maps`.
    """

    def __init__(self, config: ResNetConfig, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        self.config = config
        self.map_channels = config.map_channels
        self.out_channels = self.map_channels[-1]
        channels = config.widths[0]
        self.conv = conv(3, channels, 7, 2, dtype=dtype, rngs=rngs)
        self.norm = batch_norm(channels, dtype=dtype, rngs=rngs)
        self.stages = nnx.List([])
        for i, (width, count) in enumerate(zip(config.widths, config.blocks, strict=True)):
            blocks = []
            for j in range(count):
                args = (channels, width, _STRIDES[i] if j == 0 else 1, config)
                if config.pre_activation:
                    first = i == j == 0
                    blocks.append(PreActivationBlock(*args, first=first, dtype=dtype, rngs=rngs))
                else:
                    blocks.append(Block(*args, dtype=dtype, rngs=rngs))
                channels = config.expansion * width
            self.stages.append(Stage(blocks))
        self.last_norm = (
            batch_norm(channels, dtype=dtype, rngs=rngs) if config.pre_activation else None
        )

    def windows(self) -> tuple[Window, ...]:
        return _WINDOWS

    def maps(self, x: jax.Array) -> list[jax.Array]:
        """The outputs of the four stages, [b, h_i, w_i, c_i] at strides 4, 8, 16 and 32, of images [b, h, w, 3].

        The last is the features. In the pre-activation form the others have no norm and activation on them.

        Raises UserError for an array of another shape.
        """
        self.check(x)
        x = nnx.relu(self.norm(self.conv(x)))  # [b, h / 2, w / 2, c]
        x = pooling.max_pool(x, *_POOL)  # [b, h / 4, w / 4, c]
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        if self.last_norm is not None:
            maps[-1] = nnx.relu(self.last_norm(x))
        return maps

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.maps(x)[-1]


class ResNet(PooledClassifier):
    """A ResNet with its linear layer: images [b, h, w, 3] -> logits [b, num_classes]."""

    def __init__(self, config: ResNetConfig, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        super().__init__(ResNetFeatures(config, dtype=dtype, rngs=rngs), rngs=rngs)
