"""Boxes: corners (x0, y0, x1, y1) in pixels, in coordinates in which (0, 0) is the centre of the top left pixel.

A pixel reaches half a pixel to every side of its centre, so that a whole image of w x h pixels is the box
(-0.5, -0.5, w - 0.5, h - 0.5). The paper's b = (b_c, b_w, b_h) is a box's centre and size (DeepPose, section 3.1).
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from deeppose_jax import affine

Box = tuple[float, float, float, float]

# How much larger than a person's box a model's input is, in training on such boxes and in prediction.
ENLARGED = 1.25


def whole_image(width: float, height: float) -> Box:
    """The box around all pixels of an image."""
    return -0.5, -0.5, width - 0.5, height - 0.5


def enlarged(box: Box, factor: float) -> Box:
    """The box `factor` times as wide and as high around the same centre."""
    x0, y0, x1, y1 = box
    dx, dy = (factor - 1) / 2 * (x1 - x0), (factor - 1) / 2 * (y1 - y0)
    return x0 - dx, y0 - dy, x1 + dx, y1 + dy


def clipped(box: Box, width: float, height: float) -> Box:
    """The part of the box that is in an image."""
    left, top, right, bottom = whole_image(width, height)
    x0, y0, x1, y1 = box
    return max(x0, left), max(y0, top), min(x1, right), min(y1, bottom)


def input_box(person: Box, width: float, height: float, factor: float = ENLARGED) -> Box:
    """A person's box with some of what is around it, within the image of width x height pixels."""
    return clipped(enlarged(person, factor), width, height)


def centre_and_size(
    boxes: Float[Array, "*b 4"],
) -> tuple[Float[Array, "*b 2"], Float[Array, "*b 2"]]:
    """The paper's b_c, (x, y), and (b_w, b_h)."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return (low + high) / 2, high - low


def from_centre_and_size(
    centre: Float[Array, "*b 2"], size: Float[Array, "*#b #2"]
) -> Float[Array, "*b 4"]:
    """The inverse of `centre_and_size`."""
    return jnp.concatenate([centre - size / 2, centre + size / 2], -1)


def mapped(boxes: Float[Array, "*b k 4"], maps: Float[Array, "*b 2 3"]) -> Float[Array, "*b k 4"]:
    """The images of boxes under maps that scale, mirror and shift, but don't rotate."""
    ends = affine.apply(maps, boxes[..., :2]), affine.apply(maps, boxes[..., 2:])
    return jnp.concatenate([jnp.minimum(*ends), jnp.maximum(*ends)], -1)
