"""Normalisation, and convolutions that batch normalisation follows."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.typing import DTypeLike

from convnets_jax import initializers

_HE = initializers.he_normal()

Padding = int | str | tuple[tuple[int, int], tuple[int, int]]


def batch_norm(
    channels: int,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    dtype: DTypeLike,
    rngs: nnx.Rngs,
) -> nnx.BatchNorm:
    """Batch normalisation; `momentum` is the share of running statistics that a step keeps: torch's 1 - momentum."""
    return nnx.BatchNorm(channels, momentum=momentum, epsilon=epsilon, dtype=dtype, rngs=rngs)


def conv(
    in_channels: int,
    channels: int,
    kernel: int,
    stride: int = 1,
    *,
    padding: Padding | None = None,
    groups: int = 1,
    bias: bool = False,
    dtype: DTypeLike,
    rngs: nnx.Rngs,
) -> nnx.Conv:
    """A convolution with He's initial weights, by default without a bias, which has no effect beside a batch norm.

    Padding is half the kernel on every side, as torch has it, if none is given; SAME would differ at stride 2.
    """
    return nnx.Conv(
        in_channels,
        channels,
        (kernel, kernel),
        strides=stride,
        padding=kernel // 2 if padding is None else padding,
        feature_group_count=groups,
        use_bias=bias,
        dtype=dtype,
        kernel_init=_HE,
        rngs=rngs,
    )


class ConvNorm(nnx.Module):
    """activation(norm(conv(x))): [b, h, w, i] -> [b, h / stride, w / stride, c].

    The activation is a ReLU if none is given, and left out if it is None. With as many `groups` as channels, each
    channel has a filter of its own: a depthwise convolution.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        kernel: int,
        stride: int = 1,
        *,
        padding: Padding | None = None,
        groups: int = 1,
        epsilon: float = 1e-5,
        momentum: float = 0.9,
        activation: Callable[[jax.Array], jax.Array] | None = nnx.relu,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        self.conv = conv(
            *(in_channels, channels, kernel, stride),
            padding=padding,
            groups=groups,
            dtype=dtype,
            rngs=rngs,
        )
        self.norm = batch_norm(channels, epsilon=epsilon, momentum=momentum, dtype=dtype, rngs=rngs)
        self.activation = activation

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.norm(self.conv(x))
        return x if self.activation is None else self.activation(x)


def local_response_norm(
    x: jax.Array, size: int = 5, k: float = 2.0, alpha: float = 1e-4
) -> jax.Array:
    """x / (k + alpha sum x^2)^(3/4), the sum over `size` neighbouring channels: [..., c] -> [..., c].

    Channels beyond the first and the last count as zero. Caffe and PyTorch divide the sum by `size`, the paper doesn't.
    It is in float32 or wider: added to k in bfloat16, it would be lost to rounding. Source: Krizhevsky et al. 2012,
    section 3.3, with the paper's constants.
    """
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    window = (1,) * (x.ndim - 1) + (size,)
    padding = ((0, 0),) * (x.ndim - 1) + (((size - 1) // 2, size // 2),)
    total = lax.reduce_window(jnp.square(wide), 0.0, lax.add, window, (1,) * x.ndim, padding)
    root = lax.rsqrt(k + alpha * total)
    # s^-3/4 = s^-1/2 sqrt(s^-1/2): a power costs several times as much on CPU.
    return (wide * root * jnp.sqrt(root)).astype(x.dtype)
