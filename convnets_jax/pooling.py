"""Maximum and average pools, with gradients that are fast on CPU too."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def adaptive_avg_pool(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Averages to a given number of cells: [b, h, w, c] -> [b, *size, c].

    Cell i of n averages the rows from floor(i h / n) to ceil((i + 1) h / n) - 1, as torch's AdaptiveAvgPool2d: where
    n doesn't divide h, cells overlap. If x has that size already it is returned as it is. Sums are in float32 or wider.
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
    """Maximum over the windows that lie completely inside the image: [b, h, w, c] -> [b, h', w', c].

    The image is padded by `padding` pixels of -inf on each side first.

    Among equal maxima the gradient goes to the first in reading order, as in XLA's own. On CPU it is written out here,
    because XLA's (select and scatter) is slow there; `lax.platform_dependent` chooses when the program is lowered. As
    with any `jax.custom_vjp`, there is no forward-mode derivative (`jvp`).
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
    """For each pixel, the sum of the gradients of the windows whose first maximum it is."""
    height, width, h, w = *x.shape[1:3], *y.shape[1:3]
    first = jnp.full(y.shape, -1, jnp.int16)  # position of the first maximum in its window
    for place in reversed(range(window**2)):
        i, j = divmod(place, window)
        rows = slice(i, i + (h - 1) * stride + 1, stride)
        columns = slice(j, j + (w - 1) * stride + 1, stride)
        first = jnp.where(x[:, rows, columns] == y, jnp.int16(place), first)

    total = jnp.zeros_like(x)
    covering = range(-(-window // stride))  # at most this many windows along one axis cover a pixel
    for row, i in (_covering_window(height, h, back, window, stride) for back in covering):
        for column, j in (_covering_window(width, w, back, window, stride) for back in covering):
            place = jnp.where((i[:, None] >= 0) & (j >= 0), i[:, None] * window + j, -2)  # [h, w]
            mine = first[:, row][:, :, column] == place[None, :, :, None].astype(jnp.int16)
            total += jnp.where(mine, g[:, row][:, :, column], 0)
    return total


def _covering_window(size, windows, back, window, stride):
    """Along one axis, for each of `size` pixels: a window, and the pixel's position in it, or -1 outside.

    The window is the last one that starts at or before the pixel (`back` = 0), or the one `back` before that.
    """
    pixel = jnp.arange(size)
    index = pixel // stride - back
    place = pixel - index * stride
    inside = (place < window) & (index >= 0) & (index < windows)
    return jnp.clip(index, 0, windows - 1), jnp.where(inside, place, -1)
