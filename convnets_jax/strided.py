"""Strided and transposed convolutions with gradients that are fast on CPU.

They are each other's adjoints and have the same kernel gradient. By automatic differentiation, the kernel gradient of
a transposed convolution is a convolution over a dilated input, which XLA runs slowly on CPU; computed as the kernel
gradient of the strided convolution, with input and output exchanged, it is many times as fast.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

_LAYOUT = ("NHWC", "HWIO", "NHWC")


def strided_conv(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Convolution with padding SAME: [b, h, w, i] and [k, k, i, o] -> [b, ceil(h / s), ceil(w / s), o].

    Where the stride divides both sides, the gradient for x is a `transposed_conv` and, as with any `jax.custom_vjp`,
    there is no forward-mode derivative (`jvp`). For other sizes and stride 1, XLA's own gradient is used.
    """
    if stride == 1 or x.shape[1] % stride or x.shape[2] % stride:
        return _conv(x, kernel, stride)
    return _down(x, kernel, stride)


def transposed_conv(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """`lax.conv_transpose` with padding SAME: [b, h, w, i] and [k, k, i, o] -> [b, s h, s w, o].

    As there and in `nnx.ConvTranspose`, the kernel is rotated by 180 degrees. On CPU, if the stride divides the side of
    the kernel, this is one convolution with the s x s pixels of a cell as output channels, which is faster there than
    one over an input with zeros in between. `lax.platform_dependent` chooses when the program is lowered.
    There is no forward-mode derivative (`jvp`), except for stride 1, which is left to XLA.
    """
    if stride == 1:
        return lax.conv_transpose(x, kernel, (1, 1), "SAME", dimension_numbers=_LAYOUT)
    return _up(x, _rotated(kernel), stride)


def _conv(x, kernel, stride):
    return lax.conv_general_dilated(x, kernel, (stride, stride), "SAME", dimension_numbers=_LAYOUT)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _down(x, kernel, stride):
    return _conv(x, kernel, stride)


def _down_forward(x, kernel, stride):
    return _down(x, kernel, stride), (x, kernel)


def _down_backward(stride, residuals, g):
    x, kernel = residuals
    return _up(g, kernel, stride), _kernel_gradient(x, g, kernel, stride)


_down.defvjp(_down_forward, _down_backward)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _up(x, kernel, stride):
    """The adjoint of `_down` with the same kernel: [b, h, w, o] -> [b, s h, s w, i]."""

    def dilated(x, kernel):
        return lax.conv_transpose(
            x, _rotated(kernel), (stride, stride), "SAME", dimension_numbers=_LAYOUT
        )

    if len(kernel) % stride:
        return dilated(x, kernel)
    by_cell = partial(_up_by_cell, stride=stride)
    return lax.platform_dependent(x, kernel, cpu=by_cell, default=dilated)


def _up_forward(x, kernel, stride):
    return _up(x, kernel, stride), (x, kernel)


def _up_backward(stride, residuals, g):
    x, kernel = residuals
    return _down(g, kernel, stride), _kernel_gradient(g, x, kernel, stride)


_up.defvjp(_up_forward, _up_backward)


def _kernel_gradient(image, cells, kernel, stride):
    """Of sum(cells * _conv(image, kernel)): image [b, s h, s w, i], cells [b, h, w, o] -> [k, k, i, o]."""
    return jax.linear_transpose(lambda kernel: _conv(image, kernel, stride), kernel)(cells)[0]


def _up_by_cell(x, kernel, stride):
    """`_up` as one convolution with each s x s block of the output as channels, over k / s cells along each axis."""
    reach = len(kernel) // stride
    b, h, w, _ = x.shape
    k, _, i, o = kernel.shape
    blocks = kernel.reshape(reach, stride, reach, stride, i, o)[::-1, :, ::-1]
    blocks = blocks.transpose(0, 2, 5, 1, 3, 4).reshape(reach, reach, o, stride * stride * i)
    margin = (reach - 1, reach - 1)
    y = lax.conv_general_dilated(x, blocks, (1, 1), (margin, margin), dimension_numbers=_LAYOUT)
    h_out, w_out = h + reach - 1, w + reach - 1
    y = y.reshape(b, h_out, w_out, stride, stride, i).transpose(0, 1, 3, 2, 4, 5)
    y = y.reshape(b, h_out * stride, w_out * stride, i)
    before = (k - stride) // 2  # the padding of `_down`
    return y[:, before : before + stride * h, before : before + stride * w]


def _rotated(kernel: jax.Array) -> jax.Array:
    """Rotated by 180 degrees, with the channels exchanged: [k, k, i, o] -> [k, k, o, i]."""
    return jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
