"""Affine maps of the image plane, as [2, 3] matrices that act on (x, y, 1).

Products are written out: a matrix product would round coordinates to bfloat16 on a TPU, by default.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float


def apply(maps: Float[Array, "*b 2 3"], points: Float[Array, "*b k 2"]) -> Float[Array, "*b k 2"]:
    """Maps points: A p + t."""
    maps = maps[..., None, :, :]  # [*b, 1, 2, 3]
    return maps[..., 0] * points[..., :1] + maps[..., 1] * points[..., 1:] + maps[..., 2]


def compose(
    second: Float[Array, "*b 2 3"], first: Float[Array, "*b 2 3"]
) -> Float[Array, "*b 2 3"]:
    """The map that applies `first`, then `second`."""
    both = second[..., :1] * first[..., :1, :] + second[..., 1:2] * first[..., 1:, :]
    return both.at[..., 2].add(second[..., 2])


def invert(maps: Float[Array, "*b 2 3"]) -> Float[Array, "*b 2 3"]:
    """The inverse maps."""
    a, b, c, d = maps[..., 0, 0], maps[..., 0, 1], maps[..., 1, 0], maps[..., 1, 1]
    x, y = maps[..., 0, 2], maps[..., 1, 2]
    across = jnp.stack([d, -b, b * y - d * x], -1)
    down = jnp.stack([-c, a, c * x - a * y], -1)
    return jnp.stack([across, down], -2) / (a * d - b * c)[..., None, None]


def box_to_pixels(boxes: Float[Array, "*b 4"], size: int) -> Float[Array, "*b 2 3"]:
    """The maps that scale each box (x0, y0, x1, y1) to a square image of `size` pixels.

    The box's edges come to lie on the outer edges of the outer pixels, whose centres are at 0 and size - 1.
    """
    low, high = boxes[..., :2], boxes[..., 2:]
    scale = size / (high - low)  # [*b, 2]
    shift = -0.5 - scale * low
    return jnp.concatenate([scale[..., None] * jnp.eye(2), shift[..., None]], axis=-1)
