"""A pose data set in memory: canvases and joints as arrays, ready to be put on a device."""

from dataclasses import dataclass
from typing import Any

import jax
from jaxtyping import Bool, Float, UInt8


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PoseSet:
    """n images of k joints on square canvases of c pixels; NumPy arrays on the host, jax's on a device.

    Attributes:
        canvases: the images, each scaled to one square canvas; `LazyImages` where they stay in their files.
        joints: (x, y) in canvas pixels; arbitrary finite numbers where `labelled` is false.
        labelled: which joints the data set gives.
        boxes: (x0, y0, x1, y1) in canvas pixels, stage 1's box b^0: the whole image, or the person.
        to_image: affine maps from canvas pixels to the original image's pixels.
    """

    canvases: UInt8[Any, "n c c 3"]
    joints: Float[Any, "n k 2"]
    labelled: Bool[Any, "n k"]
    boxes: Float[Any, "n 4"]
    to_image: Float[Any, "n 2 3"]

    def __len__(self) -> int:
        return self.canvases.shape[0]
