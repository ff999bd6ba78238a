"""How images of any shape become squares for a network, and the squares' maps one map of the image."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from engine_jax.images import pixels

Fit = Literal["squeeze", "letterbox", "tiles"]


class Box(NamedTuple):
    """The part of an image that a square shows, in pixels; it may reach over the image's edges."""

    top: int
    left: int
    height: int
    width: int

    def inside(self, height: int, width: int) -> tuple[slice, slice]:
        """Its rows and columns in an image of this size."""
        return (
            slice(max(self.top, 0), min(self.top + self.height, height)),
            slice(max(self.left, 0), min(self.left + self.width, width)),
        )


@dataclass(frozen=True)
class Framing:
    """Cuts images into squares.

    Attributes:
        size: side of the squares in pixels, that of the network's input.
        fit: "squeeze": one square, for which height and width are scaled each by itself; "letterbox": one square that
            shows the whole image, undistorted, with its edges drawn out over the rest; "tiles": squares of a part of
            the image each, which overlap.
        tile: side of a tile in the image's pixels; 0 is `size`.
        overlap: share of a tile that the next one repeats, at least.
    """

    size: int
    fit: Fit = "squeeze"
    tile: int = 0
    overlap: float = 0.25

    def boxes(self, height: int, width: int) -> list[Box]:
        """What the squares of an image show."""
        if self.fit == "squeeze":
            return [Box(0, 0, height, width)]
        if self.fit == "letterbox":
            side = max(height, width)
            return [Box((height - side) // 2, (width - side) // 2, side, side)]
        side = self.tile or self.size
        return [
            Box(top, left, side, side)
            for top in self._starts(height, side)
            for left in self._starts(width, side)
        ]

    def _starts(self, length: int, side: int) -> list[int]:
        """Where tiles begin along an axis, evenly spaced; a tile that is longer than the axis lies in its middle."""
        if length <= side:
            return [(length - side) // 2]
        step = max(1, side - int(np.ceil(self.overlap * side)))
        count = 1 + -(-(length - side) // step)
        return np.linspace(0, length - side, count).round().astype(int).tolist()

    def square(self, image: Image.Image, box: Box) -> UInt8[np.ndarray, "s s 3"]:
        """The square that shows a box of an RGB image."""
        if box == Box(0, 0, image.height, image.width):
            return fit(image, self.size)
        rows, columns = box.inside(image.height, image.width)
        part = np.asarray(image.crop((columns.start, rows.start, columns.stop, rows.stop)))
        padded = np.pad(part, (*_margins(box, rows, columns), (0, 0)), "edge")
        return fit(Image.fromarray(padded), self.size)

    def mask_in(self, mask: Bool[np.ndarray, "h w"], box: Box) -> Bool[np.ndarray, "bh bw"]:
        """A mask's part in a box; outside the image nothing is faulty."""
        rows, columns = box.inside(*mask.shape)
        return np.pad(mask[rows, columns], _margins(box, rows, columns))


def fit(image: Image.Image, size: int) -> UInt8[np.ndarray, "s s 3"]:
    """Resizes an RGB image to one square, anti-aliased; the aspect ratio is not kept.

    The filter is the triangle: it adds no ringing to edges, which an autoencoder would have to
    reproduce.
    """
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def _margins(box: Box, rows: slice, columns: slice) -> tuple[tuple[int, int], tuple[int, int]]:
    """How far a box reaches over the image: above and below, left and right."""
    return (
        (rows.start - box.top, box.top + box.height - rows.stop),
        (columns.start - box.left, box.left + box.width - columns.stop),
    )


def resize_map(
    anomaly_map: Float[np.ndarray, "h w"], shape: tuple[int, int]
) -> Float[np.ndarray, "{shape[0]} {shape[1]}"]:
    """Resizes a map to another size (h', w'): bilinear, with anti-aliasing when it shrinks.

    Runs on the host: images come in any size, and on a device each new size would be compiled.
    """
    return pixels(_resized(anomaly_map, shape))


def _resized(anomaly_map: Float[np.ndarray, "h w"], shape: tuple[int, int]) -> Image.Image:
    height, width = shape
    image = Image.fromarray(np.asarray(anomaly_map, np.float32))
    return image.resize((width, height), Image.Resampling.BILINEAR)


def framed_map(
    square_map: Float[np.ndarray, "s s"], box: Box, height: int, width: int
) -> Float[np.ndarray, "bh bw"]:
    """The part of a square's map that lies in the image of size (height, width), at the image's scale."""
    rows, columns = box.inside(height, width)
    if not square_map.any():  # The spread of one member: memory that isn't written to takes none.
        return np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.float32)
    left, top = columns.start - box.left, rows.start - box.top
    right, bottom = columns.stop - box.left, rows.stop - box.top
    return pixels(_resized(square_map, (box.height, box.width)), (left, top, right, bottom))


class Blend:
    """The map of an image of size (height, width), from those of its tiles.

    Where tiles overlap it is their mean, weighted by the distance from each one's edge, so that no seam is left.
    """

    def __init__(self, height: int, width: int):
        self._total = np.zeros((height, width), np.float32)
        self._weight = np.zeros((height, width), np.float32)

    def add(self, square_map: Float[np.ndarray, "s s"], box: Box) -> None:
        """Adds the map of one tile; every pixel of the image must lie in a box."""
        height, width = self._total.shape
        rows, columns = box.inside(height, width)
        down = _tent(box.height)[rows.start - box.top :][: rows.stop - rows.start]
        across = _tent(box.width)[columns.start - box.left :][: columns.stop - columns.start]
        weight = np.outer(down, across)
        self._total[rows, columns] += weight * framed_map(square_map, box, height, width)
        self._weight[rows, columns] += weight

    def map(self) -> Float[np.ndarray, "h w"]:
        """The blended map."""
        return self._total / self._weight


def _tent(length: int) -> Float[np.ndarray, " length"]:
    """1 in the middle, down to almost 0 at both ends."""
    ticks = np.arange(length) + np.float32(0.5)
    return (np.minimum(ticks, length - ticks) / (length / 2)).astype(np.float32)
