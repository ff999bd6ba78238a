"""Random weights that compile fast: the same values as `nnx.initializers`, drawn as one row and then reshaped.

On CPU XLA takes several times as long to compile a random draw with four axes as one with a single axis.
"""

from math import prod

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

# The standard deviation of a standard normal variable that is cut off at -2 and 2.
_TRUNCATED_DEVIATION = 0.87962566103423978


def normal(deviation: float) -> nnx.Initializer:
    """Normal with a standard deviation."""

    def init(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> jax.Array:
        return deviation * jax.random.normal(key, (prod(shape),), dtype).reshape(shape)

    return init


def fan_in_normal(gain: float) -> nnx.Initializer:
    """Normal with variance gain / fan-in, of kernels [..., inputs, outputs]."""

    def init(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> jax.Array:
        return normal((gain / prod(shape[:-1])) ** 0.5)(key, shape, dtype)

    return init


def truncated_fan_in_normal(gain: float) -> nnx.Initializer:
    """Like `fan_in_normal`, of the same variance, but cut off at two standard deviations of the normal distribution."""

    def init(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> jax.Array:
        row = jax.random.truncated_normal(key, -2, 2, (prod(shape),), dtype)
        deviation = (gain / prod(shape[:-1])) ** 0.5
        return (deviation / _TRUNCATED_DEVIATION * row).reshape(shape)

    return init


def he_normal() -> nnx.Initializer:
    """For layers that a ReLU follows (He et al. 2015, equation 10)."""
    return truncated_fan_in_normal(2)


def lecun_normal() -> nnx.Initializer:
    """For layers that no activation follows (LeCun et al. 1998, equation 16)."""
    return truncated_fan_in_normal(1)
