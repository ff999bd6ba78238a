"""A refiner's boxes: squares of side sigma diam(y) around each joint of a pose y (DeepPose, section 3.2).

diam(y) is the mean of the torso's two diagonals, where the paper takes one. Then a mirrored pose has the same diam,
without which prediction would not commute with a flip; and a body seen from the side, one of whose diagonals may
vanish, keeps a box: over LSP's 2000 images the smallest single diagonal is 0.013 of the image's longer side, the
smallest mean 0.101.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from deeppose_jax import codec
from deeppose_jax.boxes import centre_and_size, from_centre_and_size
from deeppose_jax.skeleton import Skeleton

# diam over the longer side of the joints' bounding box: the mean over LSP's 2000 images is 0.370. For poses with the
# incomplete labels of LSP Extended, LSP's joints under the masks found there: median 0.373, 90 % in 0.301 .. 0.560.
DIAM_PER_EXTENT = 0.37
# diam is at least this fraction of the longer side of stage 1's box, which is less than any torso of LSP.
SMALLEST_DIAM = 0.1


def diam(
    joints: Float[ArrayLike, "*b k 2"],
    skeleton: Skeleton,
    floor: float | Float[ArrayLike, "*#b"],
    labelled: Bool[ArrayLike, "*b k"] | None = None,
) -> Float[Array, "*b"]:
    """diam(y): the mean distance between opposing torso joints, `skeleton.torso` and its mirror image.

    Args:
        joints: (x, y) in pixels.
        skeleton: what the joints are.
        floor: the smallest value to return, in pixels; see `smallest_diam`.
        labelled: which joints are known; None is all of them, as for predictions. If only one diagonal is known, its
            length is returned; if none is, or the skeleton has no torso, DIAM_PER_EXTENT of the longer side of the
            known joints' bounding box.
    """
    joints = jnp.asarray(joints)
    if skeleton.torso is None:
        known = jnp.ones(joints.shape[:-1], bool) if labelled is None else jnp.asarray(labelled)
        return jnp.maximum(DIAM_PER_EXTENT * _extent(joints, known), floor)
    pairs = np.array(skeleton.torso_diagonals)
    ends = joints[..., pairs, :]  # [*b, diagonal, end, 2]
    lengths = jnp.linalg.norm(ends[..., 0, :] - ends[..., 1, :], axis=-1)  # [*b, diagonal]
    if labelled is None:
        return jnp.maximum(lengths.mean(-1), floor)
    labelled = jnp.asarray(labelled)
    known = labelled[..., pairs].all(-1)  # [*b, diagonal]
    count = known.sum(-1)
    mean = jnp.where(known, lengths, 0).sum(-1) / jnp.maximum(count, 1)
    estimate = DIAM_PER_EXTENT * _extent(joints, labelled)
    return jnp.maximum(jnp.where(count > 0, mean, estimate), floor)


def _extent(joints: jax.Array, labelled: jax.Array) -> jax.Array:
    """Longer side of the labelled joints' bounding box, [*b]; -inf without any."""
    known = labelled[..., None]
    high = jnp.where(known, joints, -jnp.inf).max(-2)
    low = jnp.where(known, joints, jnp.inf).min(-2)
    return (high - low).max(-1)


def smallest_diam(boxes: Float[Any, "*b 4"]) -> Float[Any, "*b"]:
    """The floor of diam, proportional to stage 1's boxes, so that a collapsed torso never gives an empty box."""
    return SMALLEST_DIAM * centre_and_size(boxes)[1].max(-1)


def boxes_around(
    joints: Float[Array, "n k 2"], boxes: Float[Array, "n 4"], sigma: float, skeleton: Skeleton
) -> Float[Array, "n k 4"]:
    """The next stage's boxes, around predicted joints in pixels; `boxes` are stage 1's."""
    diams = diam(joints, skeleton, smallest_diam(boxes))
    return refiner_boxes(joints, diams[:, None], sigma)


def refiner_boxes(
    centres: Float[Array, "*b k 2"], diams: Float[Array, "*b #k"], sigma: float
) -> Float[Array, "*b k 4"]:
    """b_i = (y_i^{s-1}, sigma diam, sigma diam): a square box around each joint, as corners in pixels."""
    return from_centre_and_size(centres, sigma * diams[..., None])


def to_frame(
    joints: Float[Array, "*b k 2"], boxes: Float[Array, "*b k 4"]
) -> Float[Array, "*b k 2"]:
    """N(y_i; b_i), each joint in its own box: a refiner's target for the true joints."""
    return codec.encode(joints[..., None, :], boxes)[..., 0, :]


def from_frame(
    refined: Float[Array, "*b k 2"], boxes: Float[Array, "*b k 4"]
) -> Float[Array, "*b k 2"]:
    """y_i^s = y_i^{s-1} + sigma diam psi_i, the inverse of `to_frame`: a refiner's output to pixels."""
    return codec.decode(refined[..., None, :], boxes)[..., 0, :]
