"""DenseNet (Huang et al., CVPR 2017), as torchvision has it: the bottleneck form with compression, DenseNet-BC.

Each layer of a dense block reads the concatenated outputs of all layers before it. Between blocks a transition halves
the channels and the resolution.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from convnets_jax import initializers, layers
from convnets_jax.layers import Window
from engine_jax.errors import UserError

_BOTTLENECK = 4  # a layer's 1x1 convolution gives so many times the growth rate
_POOL = Window(3, stride=2, padding=1)
_TRANSITION_POOL = Window(2, stride=2)
_BATCH_NORM_MOMENTUM = 0.9
_BATCH_NORM_EPSILON = 1e-5


@dataclass(frozen=True)
class DenseNetConfig:
    """What a DenseNet is built from.

    Attributes:
        blocks: layers of each dense block.
        growth_rate: channels that a layer adds (the paper's k).
        first_width: channels of the first convolution.
        num_classes: width of the last layer.
    """

    blocks: tuple[int, ...]
    growth_rate: int = 32
    first_width: int = 64
    num_classes: int = 1000

    def __post_init__(self):
        if not self.blocks or min(self.blocks) < 1:
            raise UserError(
                f"DenseNetConfig.blocks is {self.blocks}: give each block's layers, 1 or more"
            )
        for name in ("growth_rate", "first_width", "num_classes"):
            if getattr(self, name) < 1:
                raise UserError(f"DenseNetConfig.{name} is {getattr(self, name)}: use 1 or more")

    @classmethod
    def densenet121(cls, num_classes: int = 1000) -> "DenseNetConfig":
        """121 layers: 7,978,856 parameters for 1000 classes."""
        return cls((6, 12, 24, 16), num_classes=num_classes)

    @classmethod
    def densenet169(cls, num_classes: int = 1000) -> "DenseNetConfig":
        """169 layers: 14,149,480 parameters for 1000 classes."""
        return cls((6, 12, 32, 32), num_classes=num_classes)

    @classmethod
    def densenet201(cls, num_classes: int = 1000) -> "DenseNetConfig":
        """201 layers: 20,013,928 parameters for 1000 classes."""
        return cls((6, 12, 48, 32), num_classes=num_classes)


def _conv(
    in_channels: int, out_channels: int, kernel: int, dtype: DTypeLike, rngs: nnx.Rngs, stride=1
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


class DenseLayer(nnx.Module):
    """Norm, ReLU, 1x1 convolution, norm, ReLU, 3x3 convolution: [b, h, w, c] -> the k channels it adds."""

    def __init__(self, in_channels: int, growth_rate: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        width = _BOTTLENECK * growth_rate
        self.norm1 = _norm(in_channels, dtype, rngs)
        self.conv1 = _conv(in_channels, width, 1, dtype, rngs)
        self.norm2 = _norm(width, dtype, rngs)
        self.conv2 = _conv(width, growth_rate, 3, dtype, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.conv1(nnx.relu(self.norm1(x)))
        return self.conv2(nnx.relu(self.norm2(x)))  # [b, h, w, k]


class Transition(nnx.Module):
    """Norm, ReLU, 1x1 convolution to half the channels, 2x2 mean: [b, h, w, c] -> [b, h / 2, w / 2, c / 2]."""

    def __init__(self, in_channels: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.norm = _norm(in_channels, dtype, rngs)
        self.conv = _conv(in_channels, in_channels // 2, 1, dtype, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.conv(nnx.relu(self.norm(x)))
        return nnx.avg_pool(x, (2, 2), (2, 2))  # an odd side loses its last row


class Stage(nnx.Module):
    """A dense block, and the transition before it in all stages but the first."""

    def __init__(
        self,
        in_channels: int,
        num_layers: int,
        growth_rate: int,
        *,
        transition: bool,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        self.transition = Transition(in_channels, dtype=dtype, rngs=rngs) if transition else None
        channels = in_channels // 2 if transition else in_channels
        self.layers = nnx.List([])
        for _ in range(num_layers):
            self.layers.append(DenseLayer(channels, growth_rate, dtype=dtype, rngs=rngs))
            channels += growth_rate
        self.out_channels = channels

    def __call__(self, x: jax.Array) -> jax.Array:
        if self.transition is not None:
            x = self.transition(x)
        for layer in self.layers:
            x = jnp.concatenate([x, layer(x)], -1)
        return x


class DenseNetFeatures(nnx.Module):
    """The convolutions of a DenseNet: images [b, h, w, 3] -> features [b, h', w', c] at stride 32.

    Parameters are float32, activations are `dtype`. `train()` and `eval()`, or
    `nnx.view(model, use_running_average=...)`, choose between the statistics of the batch and the running ones.

    Attributes:
        config: what it was built from.
        out_channels: c.
    """

    def __init__(self, config: DenseNetConfig, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        self.config = config
        channels = config.first_width
        self.conv = _conv(3, channels, 7, dtype, rngs, stride=2)
        self.norm = _norm(channels, dtype, rngs)
        self.stages = nnx.List([])
        for i, num_layers in enumerate(config.blocks):
            stage = Stage(
                channels,
                num_layers,
                config.growth_rate,
                transition=i > 0,
                dtype=dtype,
                rngs=rngs,
            )
            self.stages.append(stage)
            channels = stage.out_channels
        self.last_norm = _norm(channels, dtype, rngs)
        self.out_channels = channels

    def output_shape(self, size: int | tuple[int, int]) -> tuple[int, int, int]:
        """(h', w', c) of the features of an image of `size` pixels, one number or (height, width).

        Raises UserError for an image that is too small for the strides.
        """
        windows = [Window(7, 2, 3), _POOL, *[_TRANSITION_POOL] * (len(self.stages) - 1)]
        return layers.feature_shape(size, windows, self.out_channels, "DenseNet")

    def __call__(self, x: jax.Array) -> jax.Array:
        """Features [b, h', w', c] of images [b, h, w, 3].

        Raises UserError for an array of another shape and for images that are too small.
        """
        layers.check_images(x, "a DenseNet")
        self.output_shape((x.shape[1], x.shape[2]))
        x = nnx.relu(self.norm(self.conv(x)))  # [b, h / 2, w / 2, c]
        x = layers.max_pool(x, *_POOL)  # [b, h / 4, w / 4, c]
        for stage in self.stages:
            x = stage(x)
        return nnx.relu(self.last_norm(x))  # [b, h', w', c]


class DenseNet(nnx.Module):
    """A DenseNet with its linear layer: images [b, h, w, 3] -> logits [b, num_classes].

    Parameters and logits are float32, activations are `dtype`. `train()` and `eval()`, or `nnx.view`, switch the
    statistics of batch normalisation.
    """

    def __init__(self, config: DenseNetConfig, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        self.config = config
        self.features = DenseNetFeatures(config, dtype=dtype, rngs=rngs)
        self.logits = nnx.Linear(
            self.features.out_channels,
            config.num_classes,
            kernel_init=initializers.lecun_normal(),
            rngs=rngs,
        )

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Logits [b, num_classes] of images [b, h, w, 3]. `rngs` is unused: a DenseNet has no dropout here.

        Raises UserError for an array of another shape and for images that are too small.
        """
        del rngs
        x = self.features(x).mean((1, 2), dtype=jnp.float32)  # [b, c]
        return self.logits(x)  # [b, num_classes]
