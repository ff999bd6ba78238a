"""Bilinear resampling of images under affine maps of the plane."""

import math
from collections.abc import Callable
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

Border = Literal["zero", "edge"]

# Of `by_products`. What is read together: tiles of the output; blocks of the image's rows, as many as a TPU's arrays
# are stored in; so many of its columns or a multiple, from every `_STEP`-th on.
_TILE, _ROWS, _COLUMNS, _STEP = 16, 8, 128, 64


def warp(
    images: Float[Array, "n h w c"],
    maps: Float[Array, "n 2 3"],
    size: int,
    *,
    diagonal: float,
    border: Border = "zero",
) -> Float[Array, "n size size c"]:
    """Samples images bilinearly: output pixel p shows the image at A p + t.

    It doesn't filter, so that a map which shrinks an image to less than half its size aliases. TPUs compute it
    `by_products`, other devices read the four neighbours of each pixel; results are the same.

    Args:
        images: of any size.
        maps: [A t], from output pixels (x, y) to input pixels; (0, 0) is the centre of the top left pixel.
        size: side of the output in pixels.
        diagonal: see `by_products`; for a rotation, the square root of 2 times the input pixels to an output pixel.
        border: what lies outside of an image: "zero", or its outermost pixels repeated ("edge").

    Raises:
        ValueError: on another border.
    """
    if border not in ("zero", "edge"):
        raise ValueError(f"border must be 'zero' or 'edge', got {border!r}")
    products = partial(_warp_by_products, size=size, border=border, diagonal=diagonal)
    gather = partial(_warp_by_gather, size=size, border=border)
    return jax.lax.platform_dependent(
        images, maps, tpu=jax.vmap(products), default=jax.vmap(gather)
    )


def _points(matrix: Float[Array, "2 3"], size: int) -> tuple[jax.Array, jax.Array]:
    """The rows and columns that output pixels show, [size, size] each."""
    ticks = jnp.arange(size, dtype=jnp.float32)
    x, y = ticks[None, :], ticks[:, None]
    # Products written out: a TPU's matrix product would round coordinates to bfloat16.
    columns, rows = (row[0] * x + row[1] * y + row[2] for row in matrix)
    return rows, columns


def _warp_by_products(
    image: jax.Array, matrix: jax.Array, size: int, border: Border, diagonal: float
) -> jax.Array:
    rows, columns = _points(matrix, size)
    if border == "edge":
        height, width = image.shape[:2]
        rows, columns = jnp.clip(rows, 0, height - 1), jnp.clip(columns, 0, width - 1)
    return by_products(image, rows, columns, diagonal)


def _warp_by_gather(image: jax.Array, matrix: jax.Array, size: int, border: Border) -> jax.Array:
    height, width = image.shape[:2]
    rows, columns = _points(matrix, size)

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


def by_products(
    image: Float[Array, "h w c"],
    rows: Float[Array, "s s"],
    columns: Float[Array, "s s"],
    diagonal: float,
    corner: Int[Array, " 2"] | tuple[int, int] = (0, 0),
    extent: Int[Array, " 2"] | tuple[int, int] | None = None,
) -> Float[Array, "s s c"]:
    """As `bilinear`, with 0 outside of the image, by matrix products: a TPU gathers single pixels slowly.

    All that a tile of the output shows lies in a window of the image, which is read as a few blocks. A product with
    each pixel's triangle weights interpolates the window's columns, a weighted sum its rows. In full float32.

    Args:
        image: of any size.
        rows: of the points, in which neighbouring output pixels show neighbouring places.
        columns: of the points.
        diagonal: the most image pixels, in x or in y, between the points of two pixels that touch at a corner.
        corner: row and column of the top left pixel of the part of the image that is read; points count from there.
        extent: height and width of this part; None is the whole image.
    """
    height, width, channels = image.shape
    size, count = len(rows), -(-len(rows) // _TILE)
    extent = (height, width) if extent is None else extent
    reach = math.ceil((_TILE - 1) * diagonal) + 2  # pixels a side that a tile shows
    down = -(-(reach + _ROWS - 1) // _ROWS)  # blocks of rows, and columns, of a window
    across = -(-(reach + _STEP - 1) // _COLUMNS) * _COLUMNS
    blocks = max(-(-height // _ROWS), down)
    starts = range(0, max(width - across, 0) + _STEP, _STEP)
    below, right = blocks * _ROWS - height, starts[-1] + across - width
    planes = jnp.pad(image, ((0, below), (0, right), (0, 0))).transpose(2, 0, 1)
    table = jnp.stack([planes[..., start : start + across] for start in starts])
    table = table.reshape(len(starts), channels, blocks, _ROWS, across).transpose(2, 0, 1, 3, 4)
    table = table.reshape(blocks * len(starts), channels * _ROWS, across)

    def tiles(values: jax.Array) -> jax.Array:
        values = jnp.pad(values, ((0, count * _TILE - size),) * 2, mode="edge")
        return values.reshape(count, _TILE, count, _TILE).swapaxes(1, 2).reshape(count**2, -1)

    def first(values: jax.Array, axis: int, step: int, last: int) -> jax.Array:
        """The block or the start at which a tile's window begins."""
        low = jnp.floor(jnp.clip(values.min(), 0, extent[axis] - 1)).astype(jnp.int32)
        return jnp.minimum((low + corner[axis]) // step, last)

    def weights(values: jax.Array, axis: int, begin: jax.Array, length: int) -> jax.Array:
        ticks = (begin - corner[axis] + jnp.arange(length))[:, None]
        near = jnp.maximum(1 - jnp.abs(values - ticks), 0)  # [length, pixels]
        return jnp.where((ticks >= 0) & (ticks < extent[axis]), near, 0)

    def tile(points: tuple[jax.Array, jax.Array]) -> Float[Array, "c pixels"]:
        rows, columns = points
        block = first(rows, 0, _ROWS, blocks - down)
        start = first(columns, 1, _STEP, len(starts) - 1)
        window = table.at[(block + jnp.arange(down)) * len(starts) + start].get(
            mode="promise_in_bounds"
        )
        over_columns = weights(columns, 1, start * _STEP, across)
        read = jnp.einsum("brq,qp->brp", window, over_columns, precision="highest")
        read = read.reshape(down, channels, _ROWS, -1)
        over_rows = weights(rows, 0, block * _ROWS, down * _ROWS).reshape(down, 1, _ROWS, -1)
        return (read * over_rows).sum((0, 2))

    # One after the other, so that windows stay few.
    found = jax.lax.map(tile, (tiles(rows), tiles(columns)))
    found = found.reshape(count, count, channels, _TILE, _TILE).transpose(0, 3, 1, 4, 2)
    return found.reshape(count * _TILE, count * _TILE, channels)[:size, :size]
