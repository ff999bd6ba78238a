"""Affine maps of the image plane, as [2, 3] matrices that act on (x, y, 1)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def apply(maps: Float[Array, "*b 2 3"], points: Float[Array, "*b k 2"]) -> Float[Array, "*b k 2"]:
    """Maps points: A p + t."""
    return jnp.einsum("...ij,...kj->...ki", maps[..., :2], points) + maps[..., None, :, 2]


def compose(
    second: Float[Array, "*b 2 3"], first: Float[Array, "*b 2 3"]
) -> Float[Array, "*b 2 3"]:
    """The map that applies `first`, then `second`."""
    linear = second[..., :2] @ first[..., :2]
    shift = jnp.einsum("...ij,...j->...i", second[..., :2], first[..., 2]) + second[..., 2]
    return jnp.concatenate([linear, shift[..., None]], axis=-1)


def invert(maps: Float[Array, "*b 2 3"]) -> Float[Array, "*b 2 3"]:
    """The inverse maps."""
    a, b, c, d = maps[..., 0, 0], maps[..., 0, 1], maps[..., 1, 0], maps[..., 1, 1]
    linear = (
        jnp.stack([jnp.stack([d, -b], -1), jnp.stack([-c, a], -1)], -2)
        / (a * d - b * c)[..., None, None]
    )
    shift = -jnp.einsum("...ij,...j->...i", linear, maps[..., 2])
    return jnp.concatenate([linear, shift[..., None]], axis=-1)


def box_to_pixels(boxes: Float[Array, "*b 4"], size: int) -> Float[Array, "*b 2 3"]:
    """The maps that scale each box (cx, cy, w, h) to a square image of `size` pixels.

    The box's edges come to lie on the outer edges of the outer pixels, whose centres are at 0 and size - 1.
    """
    centre, extent = boxes[..., :2], boxes[..., 2:]
    scale = size / extent  # [*b, 2]
    shift = (size - 1) / 2 - scale * centre
    return jnp.concatenate([scale[..., None] * jnp.eye(2), shift[..., None]], axis=-1)


def warp(
    images: Float[Array, "n h w c"], maps: Float[Array, "n 2 3"], size: int
) -> Float[Array, "n size size c"]:
    """Samples images bilinearly: output pixel p shows the image at maps(p); outside of the image is black.

    It doesn't filter, so a map that shrinks by much more than 1 aliases.
    """
    height, width = images.shape[1:3]
    ticks = jnp.arange(size, dtype=jnp.float32)
    pixels = jnp.stack(jnp.meshgrid(ticks, ticks, indexing="xy"), -1).reshape(
        -1, 2
    )  # [size * size, 2]

    def warp_one(image: jax.Array, matrix: jax.Array) -> jax.Array:
        points = apply(matrix, pixels)
        corner = jnp.floor(points)
        part = points - corner  # [size * size, 2]
        column, row = corner[:, 0].astype(jnp.int32), corner[:, 1].astype(jnp.int32)

        def tap(dx: int, dy: int) -> jax.Array:
            x, y = column + dx, row + dy
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            weight = jnp.abs(1 - dx - part[:, 0]) * jnp.abs(1 - dy - part[:, 1]) * inside
            return image[jnp.clip(y, 0, height - 1), jnp.clip(x, 0, width - 1)] * weight[:, None]

        return (tap(0, 0) + tap(1, 0) + tap(0, 1) + tap(1, 1)).reshape(size, size, -1)

    return jax.vmap(warp_one)(images, maps)
