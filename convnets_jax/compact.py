"""A small residual network with features at stride 8, made for inputs of 64 to 128 pixels.

Residual stages (He et al., CVPR 2016) at strides 4, 8, 16 ... and a top-down path (Lin et al., CVPR 2017) that adds the
coarse ones, whose filters see the whole image, to the one at stride 8. Width doubles with the stride, so that every
block costs the same and most parameters stand where a map has the fewest cells.
"""

from dataclasses import dataclass
from itertools import pairwise

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from convnets_jax import initializers
from engine_jax.errors import UserError

_FIRST_STRIDE = 4
_STRIDE = 8  # of the features
_BATCH_NORM_MOMENTUM = 0.9


@dataclass(frozen=True)
class CompactConfig:
    """What a compact network is built from.

    Attributes:
        widths: channels of the stages at strides 4, 8, 16 and so on; two stages at least.
        blocks: residual blocks of each stage.
        out_channels: channels of the features at stride 8.
        out_blocks: residual blocks on the sum of the stages.
    """

    widths: tuple[int, ...] = (32, 64, 128, 256)
    blocks: tuple[int, ...] = (1, 2, 2, 1)
    out_channels: int = 96
    out_blocks: int = 1

    def __post_init__(self):
        if len(self.widths) < 2:
            raise UserError(
                f"CompactConfig.widths is {self.widths}: give the channels of at least two stages, "
                "at strides 4 and 8"
            )
        if len(self.blocks) != len(self.widths):
            raise UserError(
                f"CompactConfig.blocks is {self.blocks}: give one count for each of the "
                f"{len(self.widths)} widths"
            )
        if min(*self.widths, self.out_channels) < 1 or min(*self.blocks, self.out_blocks) < 0:
            raise UserError(f"CompactConfig holds a width below 1 or blocks below 0: {self}")

    @property
    def coarsest_stride(self) -> int:
        """Input sides are multiples of it."""
        return _FIRST_STRIDE * 2 ** (len(self.widths) - 1)


def _conv(
    in_channels: int, out_channels: int, kernel: int, dtype: DTypeLike, rngs: nnx.Rngs
) -> nnx.Conv:
    """A convolution for a batch norm to follow, which makes a bias idle."""
    return nnx.Conv(
        in_channels,
        out_channels,
        (kernel, kernel),
        use_bias=False,
        dtype=dtype,
        kernel_init=initializers.he_normal(),
        rngs=rngs,
    )


def _norm(channels: int, dtype: DTypeLike, rngs: nnx.Rngs) -> nnx.BatchNorm:
    return nnx.BatchNorm(channels, momentum=_BATCH_NORM_MOMENTUM, dtype=dtype, rngs=rngs)


class Block(nnx.Module):
    """relu(x + norm(conv(relu(norm(conv(x)))))): [b, h, w, c] -> the same.

    The last norm's scale starts at 1. At 0 (Goyal et al. 2017, section 5.1) so small a network lacks blocks that it
    needs for hundreds of steps, which are a good part of a short training.
    """

    def __init__(self, channels: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.conv1 = _conv(channels, channels, 3, dtype, rngs)
        self.norm1 = _norm(channels, dtype, rngs)
        self.conv2 = _conv(channels, channels, 3, dtype, rngs)
        self.norm2 = _norm(channels, dtype, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = nnx.relu(self.norm1(self.conv1(x)))
        return nnx.relu(x + self.norm2(self.conv2(y)))


class Stage(nnx.Module):
    """A convolution on patches, which divides height and width by `stride`, and residual blocks."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        kernel: int,
        blocks: int,
        *,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        self.stride = stride
        self.conv = _conv(in_channels * stride**2, channels, kernel, dtype, rngs)
        self.norm = _norm(channels, dtype, rngs)
        self.blocks = nnx.List([Block(channels, dtype=dtype, rngs=rngs) for _ in range(blocks)])

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(self.norm(self.conv(patches(x, self.stride))))
        for block in self.blocks:
            x = block(x)
        return x


class CompactFeatures(nnx.Module):
    """Images [b, h, w, 3] -> features [b, h / 8, w / 8, c], each a function of the whole image or most of it.

    Feature (i, j) is centred on the 8 x 8 pixels (8 i, 8 j) .. (8 i + 7, 8 j + 7): resolution is halved by convolutions
    on whole patches, and not by strided 3x3 filters, which under SAME padding are off by half a pixel each.

    Parameters are float32, activations are `dtype`. `train()` and `eval()`, or
    `nnx.view(model, use_running_average=...)`, choose between the statistics of the batch and the running ones.

    Attributes:
        config: what it was built from.
        out_channels: c.
    """

    def __init__(
        self, config: CompactConfig | None = None, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs
    ):
        config = CompactConfig() if config is None else config
        self.config = config
        self.out_channels = config.out_channels
        first, *widths = config.widths
        # The first convolution's 3x3 patches of 4x4 pixels are 12x12 filters at stride 4.
        stem = Stage(3, first, _FIRST_STRIDE, 3, config.blocks[0], dtype=dtype, rngs=rngs)
        self.stages = nnx.List([stem])
        for (before, width), blocks in zip(pairwise(config.widths), config.blocks[1:], strict=True):
            self.stages.append(Stage(before, width, 2, 1, blocks, dtype=dtype, rngs=rngs))
        self.laterals = nnx.List([_conv(w, config.out_channels, 1, dtype, rngs) for w in widths])
        self.norm = _norm(config.out_channels, dtype, rngs)
        self.blocks = nnx.List(
            [Block(config.out_channels, dtype=dtype, rngs=rngs) for _ in range(config.out_blocks)]
        )

    def output_shape(self, size: int | tuple[int, int]) -> tuple[int, int, int]:
        """(h', w', c) of the features of an image of `size` pixels, one number or (height, width).

        Raises UserError for a side that isn't a multiple of the coarsest stage's stride.
        """
        height, width = (size, size) if isinstance(size, int) else size
        stride = self.config.coarsest_stride
        for side in (height, width):
            if side < stride or side % stride:
                raise UserError(
                    f"an image side of {side} px doesn't fit this compact network of "
                    f"{len(self.stages)} stages: use a multiple of {stride} px"
                )
        return height // _STRIDE, width // _STRIDE, self.out_channels

    def __call__(self, x: jax.Array) -> jax.Array:
        """Features [b, h / 8, w / 8, c] of images [b, h, w, 3].

        Raises UserError for an array of another shape and for sides that `output_shape` refuses.
        """
        if x.ndim != 4 or x.shape[-1] != 3:
            raise UserError(
                f"a compact network takes images [b, h, w, 3], it got an array of shape {x.shape}"
            )
        self.output_shape((x.shape[1], x.shape[2]))
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        total = self.laterals[-1](maps[-1])
        for lateral, finer in zip(self.laterals[-2::-1], maps[-2:0:-1], strict=True):
            total = upsample(total) + lateral(finer)
        x = nnx.relu(self.norm(total))
        for block in self.blocks:
            x = block(x)
        return x  # [b, h / 8, w / 8, c]


def patches(x: jax.Array, side: int) -> jax.Array:
    """The pixels of side x side patches as channels: [b, h, w, c] -> [b, h / side, w / side, side^2 c]."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // side, side, w // side, side, c).swapaxes(2, 3)
    return x.reshape(b, h // side, w // side, side**2 * c)


def upsample(x: jax.Array) -> jax.Array:
    """Every cell four times: [b, h, w, c] -> [b, 2 h, 2 w, c]."""
    return x.repeat(2, axis=1).repeat(2, axis=2)
