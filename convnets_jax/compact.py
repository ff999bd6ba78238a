"""A small residual network with features at stride 8, made for inputs of 64 to 128 pixels.

Residual stages (He et al., CVPR 2016) at strides 4, 8, 16 ... and a top-down path (Lin et al., CVPR 2017) that adds the
coarse ones, which depend on the whole image, to the one at stride 8. Width doubles with the stride, so that every
block costs the same and most parameters are in the coarsest stages.
"""

from dataclasses import dataclass
from itertools import pairwise

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from convnets_jax.config_checks import check_at_least, field_error
from convnets_jax.features import Features
from convnets_jax.layers import batch_norm, conv
from engine_jax.errors import UserError

_FIRST_STRIDE = 4
_STRIDE = 8  # of the features


@dataclass(frozen=True)
class CompactConfig:
    """Configuration of a compact network.

    Attributes:
        widths: channels of the stages at strides 4, 8, 16 and so on; at least two stages.
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
            raise field_error(self, "widths", "the channels of two stages or more, at strides 4, 8")
        if len(self.blocks) != len(self.widths):
            raise field_error(self, "blocks", f"one count for each of {len(self.widths)} widths")
        check_at_least(self, 1, "widths", "out_channels")
        check_at_least(self, 0, "blocks", "out_blocks")

    @property
    def coarsest_stride(self) -> int:
        """Input sides are multiples of it."""
        return _FIRST_STRIDE * 2 ** (len(self.widths) - 1)


class Block(nnx.Module):
    """relu(x + norm(conv(relu(norm(conv(x)))))): [b, h, w, c] -> the same.

    The last norm's scale starts at 1. With 0 (Goyal et al. 2017, section 5.1) the blocks of so small a network
    contribute little for hundreds of steps, a good part of a short training.
    """

    def __init__(self, channels: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.conv1 = conv(channels, channels, 3, dtype=dtype, rngs=rngs)
        self.norm1 = batch_norm(channels, dtype=dtype, rngs=rngs)
        self.conv2 = conv(channels, channels, 3, dtype=dtype, rngs=rngs)
        self.norm2 = batch_norm(channels, dtype=dtype, rngs=rngs)

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
        self.conv = conv(in_channels * stride**2, channels, kernel, dtype=dtype, rngs=rngs)
        self.norm = batch_norm(channels, dtype=dtype, rngs=rngs)
        self.blocks = nnx.List([Block(channels, dtype=dtype, rngs=rngs) for _ in range(blocks)])

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(self.norm(self.conv(patches(x, self.stride))))
        for block in self.blocks:
            x = block(x)
        return x


class CompactFeatures(Features):
    """Images [b, h, w, 3] -> features [b, h / 8, w / 8, c], each a function of the whole image or most of it.

    Feature (i, j) is centred on the 8 x 8 pixels (8 i, 8 j) .. (8 i + 7, 8 j + 7): resolution is halved by convolutions
    on whole patches, and not by strided 3x3 filters, which under SAME padding are off by half a pixel each.
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
        self.laterals = nnx.List(
            [conv(w, config.out_channels, 1, dtype=dtype, rngs=rngs) for w in widths]
        )
        self.norm = batch_norm(config.out_channels, dtype=dtype, rngs=rngs)
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
        self.check(x)
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
    """Nearest-neighbour upsampling: [b, h, w, c] -> [b, 2 h, 2 w, c]."""
    return x.repeat(2, axis=1).repeat(2, axis=2)
