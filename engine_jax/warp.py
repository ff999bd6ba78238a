"""Bilinear resampling of images under affine maps of the plane."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

Border = Literal["zero", "edge"]


def warp(
    images: Float[Array, "n h w c"],
    maps: Float[Array, "n 2 3"],
    size: int,
    *,
    border: Border = "zero",
) -> Float[Array, "n size size c"]:
    """Samples images bilinearly: output pixel p shows the image at A p + t.

    It doesn't filter, so that a map which shrinks an image to less than half its size aliases.

    Args:
        images: of any size.
        maps: [A t], from output pixels (x, y) to input pixels; (0, 0) is the centre of the top left pixel.
        size: side of the output in pixels.
        border: what lies outside of an image: "zero", or its outermost pixels repeated ("edge").

    Raises:
        ValueError: on another border.
    """
    if border not in ("zero", "edge"):
        raise ValueError(f"border must be 'zero' or 'edge', got {border!r}")
    return jax.vmap(partial(_warp_one, size=size, border=border))(images, maps)


def _warp_one(image: jax.Array, matrix: jax.Array, size: int, border: Border) -> jax.Array:
    height, width = image.shape[:2]
    ticks = jnp.arange(size, dtype=jnp.float32)
    x, y = ticks[None, :], ticks[:, None]
    # Products written out: a TPU's matrix product would round coordinates to bfloat16.
    columns, rows = (row[0] * x + row[1] * y + row[2] for row in matrix)  # [size, size]

    def pixels(row: jax.Array, column: jax.Array) -> jax.Array:
        found = image[jnp.clip(row, 0, height - 1), jnp.clip(column, 0, width - 1)]
        if border == "edge":
            return found
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        return jnp.where(inside[..., None], found, 0)

    return bilinear(pixels, rows, columns)


def input_maps(
    angles: Float[Array, " n"], zooms: Float[Array, " n"], shifts: Float[Array, "n 2"], size: int
) -> Float[Array, "n 2 3"]:
    """Maps for `warp` that rotate and zoom images about their centre, then shift them.

    Args:
        angles: in radians, from the x axis, which points right, to the y axis, which points down.
        zooms: above 1 enlarges.
        shifts: (x, y) in pixels.
        size: side of the images in pixels.
    """
    centre = (size - 1) / 2
    cos, sin = jnp.cos(angles) / zooms, jnp.sin(angles) / zooms
    x, y = -(centre + shifts).T  # output pixel (0, 0), seen from where the centre comes to lie
    across = jnp.stack([cos, sin, cos * x + sin * y + centre], -1)
    down = jnp.stack([-sin, cos, cos * y - sin * x + centre], -1)
    return jnp.stack([across, down], 1)


def bilinear(
    pixels: Callable[[Int[Array, "*b"], Int[Array, "*b"]], Float[Array, "*b c"]],
    rows: Float[Array, "*b"],
    columns: Float[Array, "*b"],
) -> Float[Array, "*b c"]:
    """The value between the four pixels around each point.

    Args:
        pixels: the pixels at whole rows and columns, which may lie outside of the image.
        rows: of the points.
        columns: of the points.
    """
    top, left = jnp.floor(rows), jnp.floor(columns)
    down, across = (rows - top)[..., None], (columns - left)[..., None]
    top, left = top.astype(jnp.int32), left.astype(jnp.int32)
    upper = (1 - across) * pixels(top, left) + across * pixels(top, left + 1)
    lower = (1 - across) * pixels(top + 1, left) + across * pixels(top + 1, left + 1)
    return (1 - down) * upper + down * lower
