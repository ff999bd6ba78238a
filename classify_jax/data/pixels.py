"""From images of any size to arrays of one size."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image


def fit(image: Image.Image, size: int) -> UInt8[np.ndarray, "s s 3"]:
    """Resizes an RGB image so that its shorter side is `size` pixels, and cuts out its middle square.

    Source: Krizhevsky et al. 2012, section 2.
    """
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box=box))
