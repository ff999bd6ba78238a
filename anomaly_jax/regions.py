"""The faulty regions of an image, each with its box and area."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

_ROWS = 256  # of an image that are counted at once


class Region(NamedTuple):
    """Faulty pixels that touch each other, by sides or corners.

    Attributes:
        box: (left, top, right, bottom) in pixels; right and bottom are the first ones outside.
        area: number of pixels.
        score: highest anomaly score of them.
    """

    box: tuple[int, int, int, int]
    area: int
    score: float


def regions(mask: Bool[np.ndarray, "h w"], anomaly_map: Float[np.ndarray, "h w"]) -> list[Region]:
    """The regions of a mask, the largest first."""
    labels = np.empty(mask.shape, np.int32)
    count: Any = ndimage.label(mask, np.ones((3, 3)), output=labels)
    areas = np.zeros(count, np.int64)
    highest = np.full(count, -np.inf, anomaly_map.dtype)
    for start in range(0, len(mask), _ROWS):
        rows = slice(start, start + _ROWS)
        regions = labels[rows][mask[rows]] - 1  # of each faulty pixel
        areas += np.bincount(regions, minlength=count)
        np.maximum.at(highest, regions, anomaly_map[rows][mask[rows]])
    found = [
        Region((across.start, down.start, across.stop, down.stop), int(area), float(score))
        for (down, across), area, score in zip(
            ndimage.find_objects(labels), areas, highest, strict=True
        )
    ]
    return sorted(found, key=lambda region: -region.area)
