"""Inverted residual blocks, and the convolutions of the networks that consist of them: MobileNetV2 and V3.

A block widens its input by a 1x1 convolution, filters each channel, and narrows it again without an activation; where
its shape allows, its input is added (Sandler et al., CVPR 2018, arXiv 1801.04381, section 3.3).
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from flax import nnx
from jax.typing import DTypeLike

from convnets_jax import initializers
from convnets_jax.features import Features, Window
from convnets_jax.layers import ConvNorm


def divisible(channels: float) -> int:
    """The nearest multiple of 8, at least 8, or the next one if that would leave out more than a tenth."""
    nearest = max(int(channels + 4) // 8 * 8, 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8


class SqueezeExcitation(nnx.Module):
    """Channels scaled by what two layers make of their means: [b, h, w, c] -> [b, h, w, c].

    The layers are 1x1 convolutions with a ReLU between them and a hard sigmoid at the end: Howard et al. 2019 (arXiv
    1905.02244, section 5.3), after Hu et al. 2018.
    """

    def __init__(self, channels: int, squeezed: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        shared = {"kernel_init": initializers.he_normal(), "dtype": dtype, "rngs": rngs}
        self.squeeze = nnx.Conv(channels, squeezed, (1, 1), **shared)
        self.excite = nnx.Conv(squeezed, channels, (1, 1), **shared)

    def __call__(self, x: jax.Array) -> jax.Array:
        mean = x.mean((1, 2), keepdims=True)  # [b, 1, 1, c]
        return x * nnx.hard_sigmoid(self.excite(nnx.relu(self.squeeze(mean))))


class InvertedResidual(nnx.Module):
    """A 1x1 convolution, a filter for each channel, a linear 1x1 convolution: [b, h, w, i] -> [b, h / s, w / s, c].

    Args:
        in_channels: i.
        inside: channels of the first two.
        channels: c.
        kernel: side of the filters.
        stride: s.
        squeeze: whether a squeeze-excitation to a quarter of the channels follows the filters.
        activation: of the first two.
        conv_norm: makes a convolution with its norm.
        dtype: of the activations.
        rngs: draws the parameters.

    Attributes:
        in_channels: i.
        stride: s.
        residual: whether the input is added: at stride 1 if i is c.
        expand: the first convolution, None where it wouldn't change the number of channels.
        depthwise: the filters.
        squeeze: the squeeze-excitation, if any.
        project: the last convolution.
    """

    def __init__(
        self,
        in_channels: int,
        inside: int,
        channels: int,
        kernel: int = 3,
        stride: int = 1,
        *,
        squeeze: bool = False,
        activation: Callable[[jax.Array], jax.Array],
        conv_norm: Callable[..., ConvNorm] = ConvNorm,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        self.in_channels = in_channels
        self.stride = stride
        self.residual = stride == 1 and in_channels == channels
        shared = {"dtype": dtype, "rngs": rngs}
        active = {"activation": activation, **shared}
        self.expand = conv_norm(in_channels, inside, 1, **active) if inside != in_channels else None
        self.depthwise = conv_norm(inside, inside, kernel, stride, groups=inside, **active)
        squeezed = divisible(inside // 4)
        self.squeeze = SqueezeExcitation(inside, squeezed, **shared) if squeeze else None
        self.project = conv_norm(inside, channels, 1, activation=None, **shared)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = x if self.expand is None else self.expand(x)
        y = self.depthwise(y)
        if self.squeeze is not None:
            y = self.squeeze(y)
        y = self.project(y)
        return x + y if self.residual else y


class InvertedResidualFeatures(Features):
    """A convolution at stride 2, inverted residuals to stride 32, a 1x1 convolution.

    Images [b, h, w, 3] -> features [b, h / 32, w / 32, c], sides rounded up.

    Args:
        config: the network's configuration.
        stem: the first convolution.
        blocks: the inverted residuals, four of which have stride 2.
        last: the 1x1 convolution to c channels.

    Attributes:
        config: as given, and so are `stem`, `blocks` and `last`.
        out_channels: c.
        map_channels: channels of the four maps of `maps`.
    """

    def __init__(
        self, config: Any, stem: ConvNorm, blocks: Sequence[InvertedResidual], last: ConvNorm
    ):
        self.config = config
        self.stem = stem
        self.blocks = nnx.List(blocks)
        self.last = last
        self.out_channels = last.conv.out_features
        before_strides = [block.in_channels for block in blocks if block.stride > 1]
        self.map_channels = (*before_strides[1:], self.out_channels)

    def windows(self) -> list[Window]:
        # A wider filter has as much more padding, so all act on sizes as 3x3 ones.
        return [Window(3, stride, 1) for stride in (2, *(block.stride for block in self.blocks))]

    def maps(self, x: jax.Array) -> list[jax.Array]:
        """[b, h_i, w_i, c_i] at strides 4, 8, 16 and 32, of images [b, h, w, 3].

        The last is the features, the others are the last blocks' outputs at their strides, which have no activation.

        Raises UserError for an array of another shape.
        """
        self.check(x)
        x = self.stem(x)  # [b, h / 2, w / 2, c_0]
        before_strides = []
        for block in self.blocks:
            if block.stride > 1:
                before_strides.append(x)
            x = block(x)
        return [*before_strides[1:], self.last(x)]

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.maps(x)[-1]
