"""GoogLeNet (Szegedy et al., CVPR 2015), as torchvision has it.

Each convolution is followed by a batch norm (there is none in the paper), the branch of 5x5 convolutions has 3x3
ones, and pools round the sides up.
"""

from dataclasses import dataclass
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from convnets_jax import initializers, layers
from convnets_jax.layers import Window
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
_AUXILIARY_CHANNELS = (512, 528)  # of the blocks that the auxiliary heads read: 4a and 4d
AUXILIARY_SHAPE = (4, 4, 128)  # of what their hidden layers read
_AUXILIARY_HIDDEN = 1024
_BATCH_NORM_MOMENTUM = 0.9
_BATCH_NORM_EPSILON = 1e-3
# ImageNet's mean and standard deviation of red, green and blue, as in convnets_jax.torchvision.
_MEAN, _STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


@dataclass(frozen=True)
class GoogLeNetConfig:
    """What a GoogLeNet is built from.

    Attributes:
        auxiliary: two more classifiers, on the features of blocks 4a and 4d, for the loss in training.
        transform_input: images that are normalised with ImageNet's mean and standard deviation are taken back to
            [-1, 1], for which torchvision's weights were trained.
        dropout: the part of the features that is dropped before the last layer in training.
        auxiliary_dropout: the same in the auxiliary classifiers.
        num_classes: width of the last layer.
    """

    auxiliary: bool = True
    transform_input: bool = True
    dropout: float = 0.2
    auxiliary_dropout: float = 0.7
    num_classes: int = 1000

    def __post_init__(self):
        for name in ("dropout", "auxiliary_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(
                    f"GoogLeNetConfig.{name} is {getattr(self, name)}: use a part in [0, 1)"
                )
        if self.num_classes < 1:
            raise UserError(f"GoogLeNetConfig.num_classes is {self.num_classes}: use 1 or more")

    @classmethod
    def googlenet(cls, num_classes: int = 1000) -> "GoogLeNetConfig":
        """13,004,888 parameters for 1000 classes, both auxiliary classifiers counted."""
        return cls(num_classes=num_classes)


class ConvNorm(nnx.Module):
    """relu(norm(conv(x))): [b, h, w, c] -> [b, h / stride, w / stride, c']."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int = 1,
        *,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        self.conv = nnx.Conv(
            in_channels,
            out_channels,
            (kernel, kernel),
            strides=stride,
            padding=kernel // 2,  # the same on both sides; SAME would differ at stride 2
            use_bias=False,
            dtype=dtype,
            kernel_init=initializers.he_normal(),
            rngs=rngs,
        )
        self.norm = nnx.BatchNorm(
            out_channels,
            momentum=_BATCH_NORM_MOMENTUM,
            epsilon=_BATCH_NORM_EPSILON,
            dtype=dtype,
            rngs=rngs,
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        return nnx.relu(self.norm(self.conv(x)))


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
        def conv(channels: int, width: int, kernel: int) -> ConvNorm:
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
            self.pool_projection(layers.max_pool(x, 3, stride=1, padding=1)),
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


class GoogLeNetFeatures(nnx.Module):
    """The convolutions of a GoogLeNet: images [b, h, w, 3] -> features [b, h', w', 1024] at stride 32.

    Parameters are float32, activations are `dtype`. `train()` and `eval()`, or
    `nnx.view(model, use_running_average=...)`, choose between the statistics of the batch and the running ones.

    Attributes:
        config: what it was built from.
        out_channels: 1024.
    """

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

    def output_shape(self, size: int | tuple[int, int]) -> tuple[int, int, int]:
        """(h', w', c) of the features of an image of `size` pixels, one number or (height, width).

        Raises UserError for an image that is too small for the strides.
        """
        # A pool that rounds up has as many outputs as one whose window is a pixel smaller.
        windows = [Window(7, 2, 3), *(Window(window - 1, 2) for window in (3, *_POOLS))]
        return layers.feature_shape(size, windows, self.out_channels, "GoogLeNet")

    def all_maps(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Features [b, h', w', 1024], and the outputs [b, .., .., 512] and [b, .., .., 528] of blocks 4a and 4d.

        Raises UserError for an array of another shape and for images that are too small.
        """
        layers.check_images(x, "GoogLeNet")
        self.output_shape((x.shape[1], x.shape[2]))
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
        """Features [b, h', w', 1024] of images [b, h, w, 3]; raises what `all_maps` raises."""
        return self.all_maps(x)[0]


def _pool(x: jax.Array, window: int) -> jax.Array:
    """Maxima at stride 2 of values of ReLUs, the last ones of what is left: [b, h, w, c] -> [b, h / 2, w / 2, c]."""
    rows, columns = ((side - window) % 2 for side in x.shape[1:3])
    # Zeros change no maximum: every window holds a value of a ReLU.
    return layers.max_pool(jnp.pad(x, ((0, 0), (0, rows), (0, columns), (0, 0))), window, 2)


class AuxiliaryHead(nnx.Module):
    """Logits [b, num_classes] of the features [b, h, w, c] in the middle of the network (section 5 of the paper)."""

    def __init__(
        self, in_channels: int, config: GoogLeNetConfig, *, dtype: DTypeLike, rngs: nnx.Rngs
    ):
        self.conv = ConvNorm(in_channels, AUXILIARY_SHAPE[-1], 1, dtype=dtype, rngs=rngs)
        self.hidden = nnx.Linear(
            prod(AUXILIARY_SHAPE),
            _AUXILIARY_HIDDEN,
            dtype=dtype,
            kernel_init=initializers.he_normal(),
            rngs=rngs,
        )
        self.dropout = nnx.Dropout(config.auxiliary_dropout)
        self.logits = _logits(_AUXILIARY_HIDDEN, config, rngs)

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        x = self.conv(layers.adaptive_avg_pool(x, AUXILIARY_SHAPE[:2]))  # [b, 4, 4, 128]
        x = nnx.relu(self.hidden(x.reshape(x.shape[0], -1)))  # [b, 1024]
        return self.logits(self.dropout(x, rngs=rngs).astype(jnp.float32))


def _logits(width: int, config: GoogLeNetConfig, rngs: nnx.Rngs) -> nnx.Linear:
    kernel_init = initializers.lecun_normal()
    return nnx.Linear(width, config.num_classes, kernel_init=kernel_init, rngs=rngs)


class GoogLeNet(nnx.Module):
    """A GoogLeNet with its classifiers: images [b, h, w, 3] -> logits [b, num_classes].

    Parameters and logits are float32, activations are `dtype`. `train()` and `eval()`, or `nnx.view`, switch dropout
    and the statistics of batch normalisation.
    """

    def __init__(self, config: GoogLeNetConfig, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        self.config = config
        self.features = GoogLeNetFeatures(config, dtype=dtype, rngs=rngs)
        self.auxiliary = nnx.List([])
        if config.auxiliary:
            for channels in _AUXILIARY_CHANNELS:
                self.auxiliary.append(AuxiliaryHead(channels, config, dtype=dtype, rngs=rngs))
        self.dropout = nnx.Dropout(config.dropout)
        self.logits = _logits(self.features.out_channels, config, rngs)

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Logits [b, num_classes] of images [b, h, w, 3]. Dropout, in training, draws from `rngs`.

        Raises UserError for an array of another shape and for images that are too small.
        """
        return self._head(self.features(x), rngs)

    def all_logits(self, x: jax.Array, rngs: nnx.Rngs | None = None) -> tuple[jax.Array, ...]:
        """Logits of the last layer and of the auxiliary classifiers on blocks 4a and 4d, each [b, num_classes].

        The paper adds the auxiliary losses to the last layer's with a weight of 0.3 (section 5). Raises UserError for
        images that `__call__` refuses, and without auxiliary classifiers.
        """
        if not self.config.auxiliary:
            raise UserError("GoogLeNetConfig.auxiliary is False: set it to True for all_logits")
        x, *middle = self.features.all_maps(x)
        heads = zip(self.auxiliary, middle, strict=True)
        return self._head(x, rngs), *(head(features, rngs) for head, features in heads)

    def _head(self, x: jax.Array, rngs: nnx.Rngs | None) -> jax.Array:
        x = x.mean((1, 2), dtype=jnp.float32)  # [b, 1024]
        return self.logits(self.dropout(x, rngs=rngs))  # [b, num_classes]
