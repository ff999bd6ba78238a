"""What readers of data sets give: people with their joints, and how to read the images that they are in."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from deeppose_jax.boxes import Box


@dataclass(frozen=True, eq=False)
class Record:
    """One person in an image, with the joints.

    Attributes:
        name: the image's file name, without the folder; where there are several people an image, the person's too.
        read: returns the encoded image's bytes.
        joints: float64 [k, 2], (x, y) in pixels of the image; (0, 0) is the centre of the top left
            pixel. Where `labelled` is false the value means nothing, and may be NaN.
        labelled: bool [k].
        occluded: bool [k], or None where the data set doesn't say.
        box: of the person, in the image's pixels; None where the image is of one person.
    """

    name: str
    read: Callable[[], bytes]
    joints: np.ndarray
    labelled: np.ndarray
    occluded: np.ndarray | None = None
    box: Box | None = None
