"""The faulty regions of an image, each with its box and area."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage


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
    labels, count = ndimage.label(mask, np.ones((3, 3)))  # pyright: ignore[reportGeneralTypeIssues]
    numbers = range(1, count + 1)
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    highest = np.atleast_1d(ndimage.maximum(anomaly_map, labels, numbers)) if count else []
    found = [
        Region(
            (across.start, down.start, across.stop, down.stop),
            int(areas[number]),
            float(highest[number - 1]),
        )
        for number, (down, across) in zip(numbers, ndimage.find_objects(labels), strict=True)
    ]
    return sorted(found, key=lambda region: -region.area)
