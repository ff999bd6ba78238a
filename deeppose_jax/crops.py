"""Crops of one size, from boxes of any size and place; all inside jit.

Every image becomes a pyramid once: the image, and area averages of it at half the side, a quarter, and so on. A box
is read from the finest level on which it spans at most two pixels for each pixel of its crop. Bilinear
interpolation skips no pixel there, so it needs no wider filter, and a box costs the same however large it is.
"""

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from deeppose_jax.boxes import centre_and_size
from engine_jax.warp import bilinear, by_products

Form = Literal["auto", "matmul", "gather"]
Border = Literal["mean", "black"]

# Level pixels from one crop pixel to the next, at most: with more, bilinear interpolation would skip some.
_STRIDE = 2
# Boxes may exceed a level's limit by this factor: rounding mustn't send a box of just that size to a coarser level.
_ROUNDING = 1 + 1e-5


class _Region(NamedTuple):
    """A level of the pyramid: its side, its top left corner on the atlas, its image pixels to a pixel."""

    side: Int[Array, "*b"]
    row: Int[Array, "*b"]
    column: Int[Array, "*b"]
    shrink: Float[Array, "*b"]


def crop_boxes(
    canvases: Float[Array, "n c c d"] | UInt8[Array, "n c c d"],
    boxes: Float[Array, "n k 4"],
    size: int,
    *,
    maps: Float[Array, "n 2 3"] | None = None,
    border: Border = "mean",
    form: Form = "auto",
) -> Float[Array, "n k size size d"]:
    """N(x; b), the crop of image x by box b at the network's size (DeepPose, section 3.1), anti-aliased.

    `affine.box_to_pixels(boxes, size)` are the maps from canvas pixels to crop pixels: a box's edges lie on the outer
    edges of its crop's outer pixels. Boxes whose longer side is at most 2 * size are interpolated from the canvas
    itself. Larger ones are read from a coarser level, which is chosen by the longer side alone: a box that is much
    longer than wide comes out softer across than necessary.

    Differentiable in float canvases, and in the boxes except where the level changes.

    Args:
        canvases: uint8 in [0, 255], which becomes [0, 1], or float, which stays as it is.
        boxes: (x0, y0, x1, y1) in canvas pixels, x0 < x1 and y0 < y1. They may leave the canvas.
        size: s, pixels a side of the crops.
        maps: similarities from the plane in which the boxes stand upright to the canvases, so that crops are rotated or
            mirrored with one resampling; None where the boxes stand on the canvases themselves.
        border: what crops show outside of a canvas: its "mean" colour, which `data.canvas` fills canvases with too, or
            "black".
        form: how to interpolate; results are the same. "matmul" cuts a window around each box and multiplies it by a
            matrix of weights from either side, and where there are maps does so tile by tile; "gather" reads the four
            neighbours of each pixel. "auto" is "matmul" on TPU and "gather" elsewhere.

    Raises:
        ValueError: on wrong shapes or types, and on an unknown form.
    """
    canvases, boxes = jnp.asarray(canvases), jnp.asarray(boxes)
    _check(canvases, boxes, size, form)
    crops = partial(_crops, size=size, border=border)
    if form != "auto":
        return crops(canvases, boxes, maps, form=form)
    products, gather = partial(crops, form="matmul"), partial(crops, form="gather")
    return jax.lax.platform_dependent(canvases, boxes, maps, tpu=products, default=gather)


def _crops(
    canvases: jax.Array,
    boxes: jax.Array,
    maps: Float[Array, "n 2 3"] | None,
    *,
    size: int,
    border: Border,
    form: Form,
) -> Float[Array, "n k size size d"]:
    # Crop pixels lie within `_STRIDE` * (size - 1) of each other; the rest is for both neighbours of the last, and
    # for rounding.
    window = _STRIDE * size + 2 if form == "matmul" and maps is None else 1
    images = as_float(canvases)
    # Beyond a canvas the pyramid is 0: of what differs from the border's colour.
    outside = images.mean((1, 2), keepdims=True) if border == "mean" else jnp.zeros(())
    atlas, regions = _pyramid(images - outside, window)
    crops = _read(atlas, regions, boxes, size, maps, window, form)
    return crops + (outside[:, None] if border == "mean" else outside)


def _read(
    atlas: Float[Array, "n rows columns d"],
    regions: _Region,
    boxes: Float[Array, "n k 4"],
    size: int,
    maps: Float[Array, "n 2 3"] | None,
    window: int,
    form: Form,
) -> Float[Array, "n k size size d"]:
    """The crops from a pyramid that has room for windows of a given side."""
    centres, extents = centre_and_size(boxes)  # [n, k, 2]
    longer = extents.max(-1)
    if maps is not None:  # A similarity scales by the root of its determinant.
        scales = jnp.abs(maps[:, 0, 0] * maps[:, 1, 1] - maps[:, 0, 1] * maps[:, 1, 0]) ** 0.5
        longer = longer * scales[:, None]
    limits = _ROUNDING * _STRIDE * size * regions.shrink[:-1]
    level = (longer[..., None] > limits).sum(-1)  # [n, k]
    region = jax.tree.map(lambda values: values[level], regions)
    offset = (jnp.arange(size) - (size - 1) / 2) / size
    points = centres[..., None] + extents[..., None] * offset  # [n, k, 2, s], canvas pixels
    if maps is not None:
        grids = jnp.broadcast_to(points[..., None, :], (*points.shape[:-1], size, size))
        x, y = grids[:, :, 0], grids[:, :, 1].swapaxes(-1, -2)
        # Written out: a TPU's matrix product would round coordinates.
        rows = maps[:, None, :, None, None]  # [n, 1, 2, 1, 1, 3]
        moved = rows[..., 0] * x[:, :, None] + rows[..., 1] * y[:, :, None] + rows[..., 2]
        moved = (moved + 0.5) / region.shrink[..., None, None, None] - 0.5
        read = _multiply_grid if form == "matmul" else _gather_grid
        return jax.vmap(jax.vmap(read, (None, 0, 0)))(atlas, region, moved)
    points = (points + 0.5) / region.shrink[..., None, None] - 0.5  # the level's pixels
    if form == "matmul":
        read = jax.vmap(_multiply, (None, 0, 0, None))
        return jax.vmap(read, (0, 0, 0, None))(atlas, region, points, window)
    return jax.vmap(jax.vmap(_gather, (None, 0, 0)))(atlas, region, points)


def as_float(canvases: Float[Array, "*b"] | UInt8[Array, "*b"]) -> Float[Array, "*b"]:
    """uint8 in [0, 255] to [0, 1]; float stays as it is."""
    return canvases.astype(jnp.float32) / 255 if canvases.dtype == jnp.uint8 else canvases


def _check(canvases: jax.Array, boxes: jax.Array, size: int, form: str) -> None:
    if canvases.ndim != 4 or canvases.shape[1] != canvases.shape[2]:
        raise ValueError(f"canvases must be [n, c, c, d], got {canvases.shape}")
    if canvases.dtype != jnp.uint8 and not jnp.issubdtype(canvases.dtype, jnp.floating):
        raise ValueError(f"canvases must be uint8 or float, got {canvases.dtype}")
    if boxes.ndim != 3 or boxes.shape[0] != canvases.shape[0] or boxes.shape[2] != 4:
        raise ValueError(f"boxes must be [{canvases.shape[0]}, k, 4], got {boxes.shape}")
    if not jnp.issubdtype(boxes.dtype, jnp.floating):
        raise ValueError(f"boxes must be float, got {boxes.dtype}")
    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}")
    if form not in ("auto", "matmul", "gather"):
        raise ValueError(f"form must be 'auto', 'matmul' or 'gather', got {form!r}")


def _pyramid(
    images: Float[Array, "n c c d"], window: int
) -> tuple[Float[Array, "n rows columns d"], _Region]:
    """All levels, down to one pixel, on one atlas, so that one operation reads boxes of different levels.

    The image stands at the left, and the other levels in a column beside it, the smallest on top. A window of the
    given side fits on the atlas at each level's corner.

    Returns:
        atlas: the levels; the rest of it is 0.
        regions: where they are, the finest first.
    """
    levels = [images]
    while levels[-1].shape[1] > 1:
        levels.append(_halve(levels[-1]))
    sides = [level.shape[1] for level in levels]
    rows = [0] + [sum(sides[i + 1 :]) for i in range(1, len(sides))]
    columns = [0] + [sides[0]] * (len(sides) - 1)
    room = [max(side, window) for side in sides]
    height = max(map(sum, zip(rows, room, strict=True)))
    width = max(map(sum, zip(columns, room, strict=True)))
    column = [_pad(level, level.shape[1], width - sides[0]) for level in levels[:0:-1]]
    parts = [_pad(levels[0], height, sides[0] if column else width)]
    if column:
        parts.append(_pad(jnp.concatenate(column, 1), height, width - sides[0]))
    shrink = jnp.asarray(2.0 ** np.arange(len(levels)), jnp.float32)
    regions = _Region(jnp.array(sides), jnp.array(rows), jnp.array(columns), shrink)
    return jnp.concatenate(parts, 2), regions


def _halve(images: Float[Array, "n c c d"]) -> Float[Array, "n h h d"]:
    """Means of 2 x 2 pixels; beyond an odd side lies a row of zeros, as outside of the canvas."""
    even = images.shape[1] + images.shape[1] % 2
    images = _pad(images, even, even)
    rows = images[:, ::2] + images[:, 1::2]
    return (rows[:, :, ::2] + rows[:, :, 1::2]) / 4


def _pad(images: jax.Array, height: int, width: int) -> jax.Array:
    """Zeros below and to the right."""
    below, right = height - images.shape[1], width - images.shape[2]
    return jnp.pad(images, ((0, 0), (0, below), (0, right), (0, 0)))


def _multiply(
    atlas: Float[Array, "rows columns d"],
    region: _Region,
    points: Float[Array, "2 s"],
    window: int,
) -> Float[Array, "s s d"]:
    """Interpolates at (x, y) = points, in a level's pixels, with one matrix of triangle weights for each axis."""
    # dynamic_slice would silently move a window that reaches beyond the atlas. It is moved here, to where it holds all
    # of the level that the box shows, so that the weights can be those of the place where it is.
    last = jnp.maximum(region.side - window, 0)
    start = jnp.clip(jnp.floor(points[:, 0]), 0, last).astype(jnp.int32)  # [2], (x, y)
    corner = (region.row + start[1], region.column + start[0], 0)
    pixels = jax.lax.dynamic_slice(atlas, corner, (window, window, atlas.shape[2]))
    ticks = (start[:, None] + jnp.arange(window))[:, None]  # [2, 1, window]
    weights = jnp.maximum(1 - jnp.abs(points[..., None] - ticks), 0)  # [2, s, window]
    # Beyond the level's end the window holds pixels of other levels.
    across, down = jnp.where(ticks < region.side, weights, 0)
    # The default precision on TPU and GPU would round the pixels to about three digits.
    return jnp.einsum("ip,jq,pqd->ijd", down, across, pixels, precision="high")


def _gather(
    atlas: Float[Array, "rows columns d"], region: _Region, points: Float[Array, "2 s"]
) -> Float[Array, "s s d"]:
    """Interpolates at (x, y) = points, in a level's pixels, from the four neighbours of each."""
    before = jnp.floor(points)
    part = points - before
    ticks = jnp.stack([before, before + 1])  # [2 neighbours, 2 axes, s]
    inside = (ticks >= 0) & (ticks < region.side)
    weights = jnp.where(inside, jnp.stack([1 - part, part]), 0)
    ticks = jnp.clip(ticks, 0, region.side - 1).astype(jnp.int32)
    columns, rows = region.column + ticks[:, 0], region.row + ticks[:, 1]
    across, down = weights[:, 0, None, :, None], weights[:, 1, :, None, None]

    def neighbour(y: int, x: int) -> jax.Array:
        return down[y] * across[x] * atlas[rows[y][:, None], columns[x]]

    return neighbour(0, 0) + neighbour(0, 1) + neighbour(1, 0) + neighbour(1, 1)


def _multiply_grid(
    atlas: Float[Array, "rows columns d"], region: _Region, points: Float[Array, "2 s s"]
) -> Float[Array, "s s d"]:
    """As `_multiply`, at points that don't lie on the rows and columns of a level."""
    corner, extent = jnp.stack([region.row, region.column]), jnp.stack([region.side] * 2)
    diagonal = _ROUNDING * _STRIDE * 2**0.5
    return by_products(atlas, points[1], points[0], diagonal, corner, extent)


def _gather_grid(
    atlas: Float[Array, "rows columns d"], region: _Region, points: Float[Array, "2 s s"]
) -> Float[Array, "s s d"]:
    """As `_gather`, at points that don't lie on the rows and columns of a level."""

    def pixels(rows: Int[Array, "s s"], columns: Int[Array, "s s"]) -> Float[Array, "s s d"]:
        inside = (rows >= 0) & (rows < region.side) & (columns >= 0) & (columns < region.side)
        last = region.side - 1
        rows, columns = jnp.clip(rows, 0, last), jnp.clip(columns, 0, last)
        found = atlas[region.row + rows, region.column + columns]
        return jnp.where(inside[..., None], found, 0)

    return bilinear(pixels, points[1], points[0])
