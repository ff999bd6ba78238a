"""GoogLeNet (Szegedy et al., CVPR 2015), as torchvision has it.

Unlike in the paper, a batch norm follows each convolution, the branch of 5x5 convolutions has 3x3 ones, and pools
round the sides up.
"""

from dataclasses import dataclass
from functools import partial
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from convnets_jax import imagenet, initializers, layers, pooling
from convnets_jax.classifiers import PooledClassifier
from convnets_jax.config_checks import check_at_least, check_dropout
from convnets_jax.features import Features, Window
from engine_jax.errors import UserError

# Channels of each inception block's branches: 1x1, (reduction, 3x3), (reduction, "5x5"), projection of the pool.
_STAGES = (
    ((64, (96, 128), (16, 32), 32), (128, (128, 192), (32, 96), 64)),
    (
        (192, (96, 208), (16, 48), 64),
        (160, (112, 224), (24, 64), 64),
        (128, (128, 256), (24, 64), 64),
        (112, (144, 288), (32, 64), 64),
        (256, (160, 320), (32, 128), 128),
    ),
    ((256, (160, 320), (32, 128), 128), (384, (192, 384), (48, 128), 128)),
)
_POOLS = (3, 3, 2)  # the window before each stage, at stride 2
_AUXILIARY_CHANNELS = (512, 528)  # of blocks 4a and 4d, whose outputs the auxiliary heads read
AUXILIARY_SHAPE = (4, 4, 128)  # of the input of their hidden layers
_AUXILIARY_HIDDEN = 1024
_MEAN, _STD = np.array(imagenet.MEAN), np.array(imagenet.STD)


@dataclass(frozen=True)
class GoogLeNetConfig:
    """Configuration of a GoogLeNet.

    Attributes:
        auxiliary: whether there are two more classifiers, on the outputs of blocks 4a and 4d, for the loss in training.
        transform_input: whether images, normalised with ImageNet's mean and standard deviation, are transformed to
            [-1, 1] first, for which torchvision's weights were trained.
        dropout: share of the features that is dropped before the last layer in training.
        auxiliary_dropout: the same in the auxiliary classifiers.
        num_classes: width of the last layer.
    """

    auxiliary: bool = True
    transform_input: bool = True
    dropout: float = 0.2
    auxiliary_dropout: float = 0.7
    num_classes: int = 1000

    def __post_init__(self):
        check_dropout(self, "dropout", "auxiliary_dropout")
        check_at_least(self, 1, "num_classes")


# 13,004,888 parameters for 1000 classes, both auxiliary classifiers counted.
CONFIGS = {"googlenet": GoogLeNetConfig()}

ConvNorm = partial(layers.ConvNorm, epsilon=1e-3)


class Inception(nnx.Module):
    """Four branches side by side (the paper's figure 2b): [b, h, w, c] -> [b, h, w, sum of the branches' channels]."""

    def __init__(
        self,
        in_channels: int,
        point: int,
        middle: tuple[int, int],
        wide: tuple[int, int],
        pooled: int,
        *,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        def conv(channels: int, width: int, kernel: int) -> layers.ConvNorm:
            return ConvNorm(channels, width, kernel, dtype=dtype, rngs=rngs)

        self.point = conv(in_channels, point, 1)
        self.middle_reduction = conv(in_channels, middle[0], 1)
        self.middle = conv(*middle, 3)
        self.wide_reduction = conv(in_channels, wide[0], 1)
        self.wide = conv(*wide, 3)  # 5x5 in the paper
        self.pool_projection = conv(in_channels, pooled, 1)
        self.out_channels = point + middle[1] + wide[1] + pooled

    def __call__(self, x: jax.Array) -> jax.Array:
        branches = [
            self.point(x),
            self.middle(self.middle_reduction(x)),
            self.wide(self.wide_reduction(x)),
            self.pool_projection(pooling.max_pool(x, 3, stride=1, padding=1)),
        ]
        return jnp.concatenate(branches, -1)


class Stage(nnx.Module):
    """The inception blocks of one resolution, 3a and 3b, 4a to 4e, or 5a and 5b."""

    def __init__(self, in_channels: int, blocks: tuple, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.blocks = nnx.List([])
        for branches in blocks:
            self.blocks.append(Inception(in_channels, *branches, dtype=dtype, rngs=rngs))
            in_channels = self.blocks[-1].out_channels
        self.out_channels = in_channels

    def __call__(self, x: jax.Array) -> list[jax.Array]:
        """The outputs of all blocks."""
        outputs = []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        return outputs


class GoogLeNetFeatures(Features):
    """The convolutions of a GoogLeNet: images [b, h, w, 3] -> features [b, h', w', 1024] at stride 32."""

    def __init__(
        self,
        config: GoogLeNetConfig | None = None,
        *,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.config = GoogLeNetConfig() if config is None else config
        self.conv1 = ConvNorm(3, 64, 7, 2, dtype=dtype, rngs=rngs)
        self.conv2 = ConvNorm(64, 64, 1, dtype=dtype, rngs=rngs)
        self.conv3 = ConvNorm(64, 192, 3, dtype=dtype, rngs=rngs)
        self.stages = nnx.List([])
        channels = 192
        for blocks in _STAGES:
            self.stages.append(Stage(channels, blocks, dtype=dtype, rngs=rngs))
            channels = self.stages[-1].out_channels
        self.out_channels = channels

    def windows(self) -> list[Window]:
        # A pool that rounds up has as many outputs as one whose window is a pixel smaller.
        return [Window(7, 2, 3), *(Window(window - 1, 2) for window in (3, *_POOLS))]

    def all_maps(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Features [b, h', w', 1024], and the outputs [b, .., .., 512] and [b, .., .., 528] of blocks 4a and 4d.

        Raises UserError for an array of another shape and for images that are too small.
        """
        self.check(x)
        if self.config.transform_input:
            x = x * (_STD / 0.5).astype(x.dtype) + ((_MEAN - 0.5) / 0.5).astype(x.dtype)
        x = self.conv1(x)  # [b, h / 2, w / 2, 64]
        x = self.conv3(self.conv2(_pool(x, 3)))  # [b, h / 4, w / 4, 192]
        maps = []
        for window, stage in zip(_POOLS, self.stages, strict=True):
            maps.append(stage(_pool(x, window)))
            x = maps[-1][-1]
        return x, maps[1][0], maps[1][3]

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.all_maps(x)[0]


def _pool(x: jax.Array, window: int) -> jax.Array:
    """Max pool at stride 2 of non-negative values, sides rounded up: [b, h, w, c] -> [b, h / 2, w / 2, c]."""
    rows, columns = ((side - window) % 2 for side in x.shape[1:3])
    # Zeros change no maximum of non-negative values, of which every window holds one.
    return pooling.max_pool(jnp.pad(x, ((0, 0), (0, rows), (0, columns), (0, 0))), window, 2)


class AuxiliaryHead(nnx.Module):
    """Logits [b, num_classes] of the features [b, h, w, c] in the middle of the network (section 5 of the paper)."""

    def __init__(
        self, in_channels: int, config: GoogLeNetConfig, *, dtype: DTypeLike, rngs: nnx.Rngs
    ):
        shared = {"dtype": dtype, "rngs": rngs}
        width, he, lecun = _AUXILIARY_HIDDEN, initializers.he_normal(), initializers.lecun_normal()
        self.conv = ConvNorm(in_channels, AUXILIARY_SHAPE[-1], 1, **shared)
        self.hidden = nnx.Linear(prod(AUXILIARY_SHAPE), width, kernel_init=he, **shared)
        self.dropout = nnx.Dropout(config.auxiliary_dropout)
        self.logits = nnx.Linear(width, config.num_classes, kernel_init=lecun, rngs=rngs)

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        x = self.conv(pooling.adaptive_avg_pool(x, AUXILIARY_SHAPE[:2]))  # [b, 4, 4, 128]
        x = nnx.relu(self.hidden(x.reshape(x.shape[0], -1)))  # [b, 1024]
        return self.logits(self.dropout(x, rngs=rngs).astype(jnp.float32))


class GoogLeNet(PooledClassifier):
    """A GoogLeNet with its classifiers: images [b, h, w, 3] -> logits [b, num_classes].

    Attributes:
        auxiliary: the two auxiliary classifiers, if any.
    """

    def __init__(self, config: GoogLeNetConfig, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        features = GoogLeNetFeatures(config, dtype=dtype, rngs=rngs)
        channels = _AUXILIARY_CHANNELS if config.auxiliary else ()
        self.auxiliary = nnx.List(
            [AuxiliaryHead(c, config, dtype=dtype, rngs=rngs) for c in channels]
        )
        super().__init__(features, dropout=config.dropout, rngs=rngs)

    def all_logits(self, x: jax.Array, rngs: nnx.Rngs | None = None) -> tuple[jax.Array, ...]:
        """Logits of the last layer and of the auxiliary classifiers on blocks 4a and 4d, each [b, num_classes].

        The paper adds the auxiliary losses to the last layer's with a weight of 0.3 (section 5). Raises UserError for
        images that `__call__` refuses, and without auxiliary classifiers.
        """
        if not self.config.auxiliary:
            raise UserError("GoogLeNetConfig.auxiliary is False: set it to True for all_logits")
        x, *middle = self.features.all_maps(x)
        heads = zip(self.auxiliary, middle, strict=True)
        return self.classify(x, rngs), *(head(features, rngs) for head, features in heads)
