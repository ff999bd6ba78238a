"""Max pooling and local response normalisation, in forms that are fast on CPU too."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax


def _plain_max_pool(x: jax.Array, window: int, stride: int) -> jax.Array:
    dims, strides = (1, window, window, 1), (1, stride, stride, 1)
    return lax.reduce_window(x, -jnp.inf, lax.max, dims, strides, "VALID")


def max_pool(x: jax.Array, window: int = 3, stride: int = 2) -> jax.Array:
    """Maximum over the windows that lie wholly inside the image: [b, h, w, c] -> [b, h', w', c].

    Among equal maxima the gradient goes to the first in reading order, as in XLA's own. On CPU it is
    written out, because XLA's (select and scatter) is slow there; `lax.platform_dependent`
    chooses when the program is lowered. As with any `jax.custom_vjp`, there is no forward-mode
    derivative (`jvp`).
    """
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
