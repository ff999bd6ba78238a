"""What the networks share: pooling and local response normalisation, fast on CPU too, and the sizes of features."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from engine_jax.errors import UserError


class Window(NamedTuple):
    """What a convolution or a pool sees along one axis.

    Attributes:
        size: pixels, F.
        stride: pixels from one window to the next, S.
        padding: pixels added at each end, P.
    """

    size: int
    stride: int = 1
    padding: int = 0


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


def adaptive_avg_pool(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Averages to a given number of cells: [b, h, w, c] -> [b, *size, c].

    Cell i of n averages the rows from floor(i h / n) to ceil((i + 1) h / n) - 1, as torch's AdaptiveAvgPool2d: where
    n doesn't divide h, cells overlap. At x's own size it is x. Sums are taken in float32 at least.
    """
    if x.shape[1:3] == tuple(size):
        return x
    rows, columns = (_averages(n, out) for n, out in zip(x.shape[1:3], size, strict=True))
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    y = jnp.einsum("ih,bhwc,jw->bijc", rows, wide, columns, precision="highest")
    return y.astype(x.dtype)


def _averages(size: int, out: int) -> np.ndarray:
    """The weights of `size` inputs in each of `out` means: [out, size]."""
    cell = np.arange(out)[:, None]
    low, high = cell * size // out, -(-(cell + 1) * size // out)
    inside = (np.arange(size) >= low) & (np.arange(size) < high)
    return (inside / inside.sum(axis=1, keepdims=True)).astype(np.float32)


def _plain_max_pool(x: jax.Array, window: int, stride: int) -> jax.Array:
    dims, strides = (1, window, window, 1), (1, stride, stride, 1)
    return lax.reduce_window(x, -jnp.inf, lax.max, dims, strides, "VALID")


def max_pool(x: jax.Array, window: int = 3, stride: int = 2, padding: int = 0) -> jax.Array:
    """Maximum over the windows that lie wholly inside the image: [b, h, w, c] -> [b, h', w', c].

    `padding` pixels that never are the maximum are added on each side first.

    Among equal maxima the gradient goes to the first in reading order, as in XLA's own. On CPU it is
    written out, because XLA's (select and scatter) is slow there; `lax.platform_dependent`
    chooses when the program is lowered. As with any `jax.custom_vjp`, there is no forward-mode
    derivative (`jvp`).
    """
    if padding:
        margins = ((0, 0), (padding, padding), (padding, padding), (0, 0))
        x = jnp.pad(x, margins, constant_values=-jnp.inf)
    return _max_pool(x, window, stride)


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _max_pool(x, window, stride):
    return _plain_max_pool(x, window, stride)


def _max_pool_forward(x, window, stride):
    y = _plain_max_pool(x, window, stride)
    return y, (x, y)


def _max_pool_backward(window, stride, residuals, g):
    def plain(x, _, g):
        return jax.vjp(lambda x: _plain_max_pool(x, window, stride), x)[1](g)[0]

    gathered = partial(_gathered_gradient, window=window, stride=stride)
    return (lax.platform_dependent(*residuals, g, cpu=gathered, default=plain),)


_max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def _gathered_gradient(x, y, g, window, stride):
    """Every pixel adds up the gradients of those windows over it whose first maximum it is."""
    height, width, h, w = *x.shape[1:3], *y.shape[1:3]
    first = jnp.full(y.shape, -1, jnp.int16)  # the place in its window of the first maximum
    for place in reversed(range(window**2)):
        i, j = divmod(place, window)
        rows = slice(i, i + (h - 1) * stride + 1, stride)
        columns = slice(j, j + (w - 1) * stride + 1, stride)
        first = jnp.where(x[:, rows, columns] == y, jnp.int16(place), first)

    total = jnp.zeros_like(x)
    covering = range(-(-window // stride))  # at most so many windows along one axis cover a pixel
    for row, i in (_covering_window(height, h, back, window, stride) for back in covering):
        for column, j in (_covering_window(width, w, back, window, stride) for back in covering):
            place = jnp.where((i[:, None] >= 0) & (j >= 0), i[:, None] * window + j, -2)  # [h, w]
            mine = first[:, row][:, :, column] == place[None, :, :, None].astype(jnp.int16)
            total += jnp.where(mine, g[:, row][:, :, column], 0)
    return total


def _covering_window(size, windows, back, window, stride):
    """Along one axis, for each of `size` pixels: a window, and the pixel's place in it or -1.

    The window is the last one that starts at or before the pixel (`back` = 0), or the one `back` before that.
    """
    pixel = jnp.arange(size)
    index = pixel // stride - back
    place = pixel - index * stride
    inside = (place < window) & (index >= 0) & (index < windows)
    return jnp.clip(index, 0, windows - 1), jnp.where(inside, place, -1)


def local_response_norm(
    x: jax.Array, size: int = 5, k: float = 2.0, alpha: float = 1e-4
) -> jax.Array:
    """x / (k + alpha sum x^2)^(3/4), the sum over `size` neighbouring channels: [..., c] -> [..., c].

    Channels beyond the first and the last count as zero. The sum is not divided by `size`, as it is
    in Caffe and PyTorch. It is taken in float32 at least, since bfloat16 would round alpha's part of
    it away beside k. Source: Krizhevsky et al. 2012, section 3.3, with the paper's constants.
    """
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    window = (1,) * (x.ndim - 1) + (size,)
    padding = ((0, 0),) * (x.ndim - 1) + (((size - 1) // 2, size // 2),)
    total = lax.reduce_window(jnp.square(wide), 0.0, lax.add, window, (1,) * x.ndim, padding)
    root = lax.rsqrt(k + alpha * total)
    # s^-3/4 = s^-1/2 sqrt(s^-1/2): a power costs several times as much on CPU.
    return (wide * root * jnp.sqrt(root)).astype(x.dtype)
