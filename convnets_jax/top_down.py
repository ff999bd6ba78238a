"""A top-down path: a network's coarse maps, which depend on the whole image, added to the one at stride 8.

Lin et al., CVPR 2017 (arXiv 1612.03144), with a single map as output.
"""

from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from convnets_jax.compact import Block, upsample
from convnets_jax.layers import batch_norm, conv
from engine_jax.errors import UserError

_STRIDE = 8  # of the features


@runtime_checkable
class Pyramid(Protocol):
    """A network that gives maps at strides 4, 8, 16 and 32: ResNets', MobileNetV2's, MobileNetV3's features."""

    map_channels: tuple[int, ...]

    def maps(self, x: jax.Array) -> list[jax.Array]:
        """[b, h_i, w_i, c_i] of images [b, h, w, 3]; each side is half the one before, rounded up."""
        ...

    def output_shape(self, size: int | tuple[int, int]) -> tuple[int, int, int]:
        """(h', w', c) of the last map; UserError for images that are too small."""
        ...


class TopDownFeatures(nnx.Module):
    """Images [b, h, w, 3] -> features [b, h / 8, w / 8, c], sides rounded up.

    A strided convolution with symmetric padding, as in these networks, centres cell i at stride s on pixel
    s i, the first of the pixels s i .. s i + s - 1 that the cell covers. That is (s - 1) / 2 pixels from their centre:
    3.5 pixels at stride 8, 15.5 at stride 32. The path's convolutions are therefore 2x2, over a cell and the next ones
    to the right and below, and centred on s i + s / 2: half a pixel off at every stride, so that upsampled coarse maps
    line up with fine ones.

    Parameters are float32, activations are `dtype`. `train()` and `eval()` switch batch normalisation.

    Args:
        bottom_up: the network whose maps at strides 8, 16 and 32 are used.
        channels: c.
        blocks: residual blocks on the sum.
        dtype: of the activations.
        rngs: draws the parameters.

    Raises:
        UserError: `bottom_up` has no `maps`.
    """

    def __init__(
        self,
        bottom_up: nnx.Module,
        channels: int,
        blocks: int = 1,
        *,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        if not isinstance(bottom_up, Pyramid):
            raise UserError(
                f"a top-down path can't be built on {type(bottom_up).__name__}: "
                "use a network that gives maps at several strides, such as resnet18"
            )
        self.bottom_up = bottom_up
        self.out_channels = channels
        self.laterals = nnx.List(
            [
                conv(width, channels, 2, padding=((0, 1), (0, 1)), dtype=dtype, rngs=rngs)
                for width in bottom_up.map_channels[1:]
            ]
        )
        self.norm = batch_norm(channels, dtype=dtype, rngs=rngs)
        self.blocks = nnx.List([Block(channels, dtype=dtype, rngs=rngs) for _ in range(blocks)])

    def output_shape(self, size: int | tuple[int, int]) -> tuple[int, int, int]:
        """(h', w', c) of the features of an image of `size` pixels, one number or (height, width).

        Raises UserError for an image that is too small for the network.
        """
        self.bottom_up.output_shape(size)
        height, width = (size, size) if isinstance(size, int) else size
        return -(-height // _STRIDE), -(-width // _STRIDE), self.out_channels

    def __call__(self, x: jax.Array) -> jax.Array:
        """Features [b, h / 8, w / 8, c] of images [b, h, w, 3]; raises what the network's `maps` raises."""
        _, *finer, coarsest = self.bottom_up.maps(x)
        total = self.laterals[-1](coarsest)
        for lateral, finer_map in zip(self.laterals[-2::-1], finer[::-1], strict=True):
            height, width = finer_map.shape[1:3]
            total = upsample(total)[:, :height, :width] + lateral(finer_map)
        x = nnx.relu(self.norm(total))
        for block in self.blocks:
            x = block(x)
        return x  # [b, h / 8, w / 8, c]
