"""Gaussian blur of images, each by its own amount."""

from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from engine_jax.errors import UserError

_REACH = 2.5  # standard deviations


def gaussian_blur(
    images: Float[Array, "n h w c"], sigma: Float[Array, " n"], largest: float
) -> Float[Array, "n h w c"]:
    """Blurs images, with their outermost pixels repeated around them.

    Args:
        images: of any size.
        sigma: standard deviations in pixels.
        largest: the largest of them, from which the filter's size is computed when it is compiled.
    """
    radius = int(np.ceil(_REACH * largest))
    offsets = jnp.arange(-radius, radius + 1)
    weights = jnp.exp(-0.5 * (offsets / jnp.maximum(sigma, 1e-3)[:, None]) ** 2)  # [n, taps]
    weights = weights / weights.sum(1, keepdims=True)
    for axis in (1, 2):
        pad = [(0, 0)] * 4
        pad[axis] = (radius, radius)
        padded = jnp.pad(images, pad, mode="edge")
        taps = [
            weights[:, i, None, None, None]
            * jax.lax.dynamic_slice_in_dim(padded, i, images.shape[axis], axis)
            for i in range(2 * radius + 1)
        ]
        images = reduce(jnp.add, taps)
    return images


def check_blur(largest: float, size: int, field: str) -> None:
    """Raises a UserError that names the field if a Gaussian blur would reach over more than `size` pixels."""
    if _REACH * largest > size:
        raise UserError(
            f"{field}: {largest:g}; accepted: at most {size / _REACH:g}, with which a Gaussian reaches over the "
            f"input's {size} pixels"
        )
