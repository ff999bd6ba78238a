"""N(y; b) and its inverse: joints in pixels to joints in a box's frame and back (DeepPose, section 3.1).

Targets are encoded and predictions decoded by this one pair of functions, so that training and prediction agree.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from deeppose_jax.boxes import centre_and_size


def encode(joints: Float[Array, "*b k 2"], boxes: Float[Array, "*b 4"]) -> Float[Array, "*b k 2"]:
    """N(y_i; b) = diag(1/b_w, 1/b_h) (y_i - b_c): the box becomes [-0.5, 0.5]^2.

    Args:
        joints: (x, y) in pixels.
        boxes: (x0, y0, x1, y1) in pixels, one for each set of joints.

    Raises:
        ValueError: on shapes that don't fit.
    """
    centre, size = _frame(joints, boxes)
    return (joints - centre) / size


def decode(joints: Float[Array, "*b k 2"], boxes: Float[Array, "*b 4"]) -> Float[Array, "*b k 2"]:
    """The inverse of `encode`: joints in the box's frame to pixels."""
    centre, size = _frame(joints, boxes)
    return joints * size + centre


def _frame(joints: jax.Array, boxes: jax.Array) -> tuple[jax.Array, jax.Array]:
    """b_c and (b_w, b_h), each [*b, 1, 2]."""
    joints, boxes = jnp.asarray(joints), jnp.asarray(boxes)
    if joints.shape[-1:] != (2,) or boxes.shape != (*joints.shape[:-2], 4):
        raise ValueError(
            f"joints [*b, k, 2] and boxes [*b, 4] don't fit: {joints.shape} and {boxes.shape}"
        )
    return centre_and_size(boxes[..., None, :])
