"""DenseNet (Huang et al., CVPR 2017), as torchvision has it: the bottleneck form with compression, DenseNet-BC.

Each layer of a dense block reads the concatenated outputs of all layers before it. Between blocks a transition halves
the channels and the resolution.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from convnets_jax import pooling
from convnets_jax.classifiers import PooledClassifier
from convnets_jax.config_checks import check_at_least, field_error
from convnets_jax.features import Features, Window
from convnets_jax.layers import batch_norm, conv

_BOTTLENECK = 4  # a layer's 1x1 convolution has this many times the growth rate as outputs
_POOL = Window(3, stride=2, padding=1)
_TRANSITION_POOL = Window(2, stride=2)


@dataclass(frozen=True)
class DenseNetConfig:
    """Configuration of a DenseNet.

    Attributes:
        blocks: number of layers of each dense block.
        growth_rate: channels that a layer adds (the paper's k).
        first_width: channels of the first convolution.
        num_classes: width of the last layer.
    """

    blocks: tuple[int, ...]
    growth_rate: int = 32
    first_width: int = 64
    num_classes: int = 1000

    def __post_init__(self):
        if not self.blocks:
            raise field_error(self, "blocks", "each block's number of layers, 1 or more")
        check_at_least(self, 1, "blocks", "growth_rate", "first_width", "num_classes")


CONFIGS = {
    "densenet121": DenseNetConfig((6, 12, 24, 16)),
    "densenet169": DenseNetConfig((6, 12, 32, 32)),
    "densenet201": DenseNetConfig((6, 12, 48, 32)),
}


class DenseLayer(nnx.Module):
    """Norm, ReLU, 1x1 convolution, norm, ReLU, 3x3 convolution: [b, h, w, c] -> the k channels it adds."""

    def __init__(self, in_channels: int, growth_rate: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        width = _BOTTLENECK * growth_rate
        self.norm1 = batch_norm(in_channels, dtype=dtype, rngs=rngs)
        self.conv1 = conv(in_channels, width, 1, dtype=dtype, rngs=rngs)
        self.norm2 = batch_norm(width, dtype=dtype, rngs=rngs)
        self.conv2 = conv(width, growth_rate, 3, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.conv1(nnx.relu(self.norm1(x)))
        return self.conv2(nnx.relu(self.norm2(x)))  # [b, h, w, k]


class Transition(nnx.Module):
    """Norm, ReLU, 1x1 convolution to half the channels, 2x2 mean: [b, h, w, c] -> [b, h / 2, w / 2, c / 2]."""

    def __init__(self, in_channels: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.norm = batch_norm(in_channels, dtype=dtype, rngs=rngs)
        self.conv = conv(in_channels, in_channels // 2, 1, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.conv(nnx.relu(self.norm(x)))
        return nnx.avg_pool(x, (2, 2), (2, 2))  # of an odd side, the last row is left out


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


class DenseNetFeatures(Features):
    """The convolutions of a DenseNet: images [b, h, w, 3] -> features [b, h', w', c] at stride 32."""

    def __init__(self, config: DenseNetConfig, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        self.config = config
        shared = {"dtype": dtype, "rngs": rngs}
        channels = config.first_width
        self.conv = conv(3, channels, 7, stride=2, **shared)
        self.norm = batch_norm(channels, **shared)
        self.stages = nnx.List([])
        for i, num_layers in enumerate(config.blocks):
            stage = Stage(channels, num_layers, config.growth_rate, transition=i > 0, **shared)
            self.stages.append(stage)
            channels = stage.out_channels
        self.last_norm = batch_norm(channels, **shared)
        self.out_channels = channels

    def windows(self) -> list[Window]:
        return [Window(7, 2, 3), _POOL, *[_TRANSITION_POOL] * (len(self.stages) - 1)]

    def __call__(self, x: jax.Array) -> jax.Array:
        self.check(x)
        x = nnx.relu(self.norm(self.conv(x)))  # [b, h / 2, w / 2, c]
        x = pooling.max_pool(x, *_POOL)  # [b, h / 4, w / 4, c]
        for stage in self.stages:
            x = stage(x)
        return nnx.relu(self.last_norm(x))  # [b, h', w', c]


class DenseNet(PooledClassifier):
    """A DenseNet with its linear layer: images [b, h, w, 3] -> logits [b, num_classes]."""

    def __init__(self, config: DenseNetConfig, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        super().__init__(DenseNetFeatures(config, dtype=dtype, rngs=rngs), rngs=rngs)
