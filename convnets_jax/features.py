"""What the convolutions of all classifiers have in common: the shape of their features, and which images they take."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
from flax import nnx

from engine_jax.errors import UserError


class Window(NamedTuple):
    """The pixels that a convolution or a pool reads along one axis.

    Attributes:
        size: pixels, F.
        stride: pixels from one window to the next, S.
        padding: pixels added at each end, P.
    """

    size: int
    stride: int = 1
    padding: int = 0


class Features(nnx.Module):
    """The convolutions of a network: normalised images [b, h, w, 3] -> features [b, h', w', c].

    Parameters are float32, activations are `dtype`. With batch normalisation, `train()` and `eval()` or
    `nnx.view(model, use_running_average=...)` choose between the statistics of the batch and the running ones.
    Calls raise UserError for an array of another shape and for images that are too small.

    Attributes:
        config: what it was built from.
        out_channels: c.
    """

    config: Any
    out_channels: int

    def windows(self) -> Sequence[Window]:
        """The windows of all convolutions and pools that change height and width, from the image to the features."""
        raise NotImplementedError

    def output_shape(self, size: int | tuple[int, int]) -> tuple[int, int, int]:
        """(h', w', c) of the features of an image of `size` pixels, one number or (height, width).

        Raises UserError for an image that is too small.
        """
        return feature_shape(size, self.windows(), self.out_channels, self.network)

    def check(self, x: jax.Array, channels: int = 3) -> None:
        """Raises UserError for an array that isn't [b, h, w, channels], and for images that are too small."""
        check_images(x, self.network, channels)
        self.output_shape((x.shape[1], x.shape[2]))

    @property
    def network(self) -> str:
        """The network's name in errors."""
        return type(self).__name__.removesuffix("Features")


def feature_shape(
    size: int | tuple[int, int], windows: Sequence[Window], channels: int, network: str
) -> tuple[int, int, int]:
    """(h', w', channels) after windows one after the other: (W - F + 2P) / S + 1, rounded down, of each axis.

    Args:
        size: of the image in pixels, one number or (height, width).
        windows: from the image to the features.
        channels: of the features.
        network: its name, for the error.

    Raises UserError for an image that is too small for the windows.
    """
    height, width = (size, size) if isinstance(size, int) else size
    smallest = 1
    for window in reversed(windows):
        smallest = max((smallest - 1) * window.stride + window.size - 2 * window.padding, 1)
    if min(height, width) < smallest:
        raise UserError(
            f"an image side of {min(height, width)} px is too small for this {network}: its strides "
            f"need at least {smallest} px"
        )
    for window in windows:
        height, width = (
            (side - window.size + 2 * window.padding) // window.stride + 1
            for side in (height, width)
        )
    return height, width, channels


def check_images(x: jax.Array, network: str, channels: int = 3) -> None:
    """Raises UserError for an array that isn't [b, h, w, channels]."""
    if x.ndim != 4 or x.shape[-1] != channels:
        raise UserError(
            f"{network} takes images [b, h, w, {channels}], it got an array of shape {x.shape}"
        )
