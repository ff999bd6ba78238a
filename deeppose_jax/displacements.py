"""What a refiner is trained on: simulated predictions of the stage before it, and boxes about them.

A refiner of stage s >= 2 sees a box of side sigma diam(y^{s-1}) about the previous stage's joint y_i^{s-1} and
corrects that joint (DeepPose, section 3.2). To train it on more than one box an image, DeepPose simulates
predictions: y_i + delta_i, where delta_i is drawn from a normal distribution that was fitted to the displacements
y_i^{s-1} - y_i of the training set. Three things that the paper leaves open, or that are done differently here:

- diam(y) is the mean of the torso's two diagonals, where the paper takes one. A mirrored pose then has the same diam,
  without which prediction could not commute with a flip; and a body seen from the side, one of whose diagonals may
  vanish, keeps a box: over LSP's 2000 images the smallest single diagonal is 0.013 of the image's longer side, the
  smallest mean 0.101.
- Displacements are counted, and drawn, in units of diam(y^{s-1}), which the box is made from. The target in the
  box's frame is then -delta_i / sigma, whatever the previous stage made of the torso.
- While a refiner is trained there is no y^{s-1}, and boxes of diam(y) would show every figure at its true size. So the
  error in size is drawn as well: log(diam(y^{s-1}) / diam(y)), from its own normal distribution, once an image.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from deeppose_jax import codec
from deeppose_jax.skeleton import Skeleton

# diam over the longer side of the joints' bounding box: the mean over LSP's 2000 images is 0.370. For poses with the
# incomplete labels of LSP Extended, LSP's joints under the masks found there: median 0.373, 90 % in 0.301 .. 0.560.
DIAM_PER_EXTENT = 0.37
# For joints that fewer than two images label, in units of diam. No loss depends on it; a box has to go somewhere.
DEFAULT_STD = 0.5


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Displacements:
    """How a stage's predictions lie about the truth, in units of the predicted pose's diam.

    Attributes:
        mean: of (y_i^{s-1} - y_i) / diam(y^{s-1}), for each joint.
        covariance: of the same.
        log_ratio_mean: of log(diam(y^{s-1}) / diam(y)).
        log_ratio_std: of the same.
    """

    mean: Float[Any, "k 2"]
    covariance: Float[Any, "k 2 2"]
    log_ratio_mean: Float[Any, ""]
    log_ratio_std: Float[Any, ""]


def diam(
    joints: Float[ArrayLike, "*b k 2"],
    skeleton: Skeleton,
    floor: float | Float[ArrayLike, "*b"],
    labelled: Bool[ArrayLike, "*b k"] | None = None,
) -> Float[Array, "*b"]:
    """diam(y): the mean distance between opposing torso joints, `skeleton.torso` and its mirror image.

    Args:
        joints: (x, y) in pixels.
        skeleton: what the joints are.
        floor: the smallest value to give, in pixels, so that a collapsed torso makes no empty box. A part of stage 1's
            box is a sound choice, since it scales with the image: a tenth of the side is less than any LSP torso.
        labelled: which joints are known; None is all of them, as for predictions. With one diagonal known that one
            counts, with none DIAM_PER_EXTENT of the longer side of the known joints' bounding box.
    """
    pairs = _diagonals(skeleton)
    joints = jnp.asarray(joints)
    ends = joints[..., pairs, :]  # [*b, diagonal, end, 2]
    lengths = jnp.linalg.norm(ends[..., 0, :] - ends[..., 1, :], axis=-1)  # [*b, diagonal]
    if labelled is None:
        return jnp.maximum(lengths.mean(-1), floor)
    labelled = jnp.asarray(labelled)
    known = labelled[..., pairs].all(-1)  # [*b, diagonal]
    count = known.sum(-1)
    measured = jnp.where(known, lengths, 0).sum(-1) / jnp.maximum(count, 1)
    estimate = DIAM_PER_EXTENT * _extent(joints, labelled)
    return jnp.maximum(jnp.where(count > 0, measured, estimate), floor)


def measure(
    predicted: Float[np.ndarray, "n k 2"],
    true: Float[np.ndarray, "n k 2"],
    labelled: Bool[np.ndarray, "n k"],
    skeleton: Skeleton,
    floor: float | Float[np.ndarray, " n"],
) -> Displacements:
    """Fits the normal distributions of DeepPose, section 3.2, to a stage's predictions.

    Args:
        predicted: the stage's joints, in pixels of any frame that an image's joints share.
        true: the true joints in the same frame.
        labelled: which of them are known. Each joint is fitted over the images that label it, the size over the images
            that label a diagonal of the torso.
        skeleton: what the joints are.
        floor: of diam, in the same pixels.

    Returns:
        Float32 arrays. Covariances and standard deviations are the unbiased ones (ddof 1, as np.cov). A joint that
        fewer than two images label gets mean 0 and covariance DEFAULT_STD^2 I; sizes likewise get mean 0 and
        deviation 0.

    Raises:
        ValueError: shapes that don't fit, a floor that isn't positive, or predictions that aren't finite.
    """
    predicted, true = np.asarray(predicted, np.float64), np.asarray(true, np.float64)
    labelled = np.asarray(labelled)
    _check(predicted, true, labelled, skeleton, floor)
    sizes = np.asarray(diam(predicted, skeleton, floor), np.float64)  # [n]
    deltas = (predicted - true) / sizes[:, None, None]  # [n, k, 2]

    k = skeleton.num_joints
    mean = np.zeros((k, 2))
    covariance = np.tile(DEFAULT_STD**2 * np.eye(2), (k, 1, 1))
    for joint in range(k):
        known = deltas[labelled[:, joint], joint]
        if len(known) >= 2:
            mean[joint], covariance[joint] = known.mean(0), np.cov(known, rowvar=False)

    torso = labelled[:, _diagonals(skeleton)].all(-1).any(-1)  # [n]
    ratios = np.log(sizes / np.asarray(diam(true, skeleton, floor, labelled), np.float64))[torso]
    centre, spread = (ratios.mean(), ratios.std(ddof=1)) if len(ratios) >= 2 else (0.0, 0.0)
    return Displacements(
        *(np.asarray(value, np.float32) for value in (mean, covariance, centre, spread))
    )


def mirrored(displacements: Displacements, skeleton: Skeleton) -> Displacements:
    """The statistics of the mirrored images: x changes its sign, left and right joints change places."""
    swap, sign = np.asarray(skeleton.swap), np.array([-1.0, 1.0], np.float32)
    return Displacements(
        mean=displacements.mean[swap] * sign,
        covariance=displacements.covariance[swap] * np.outer(sign, sign),
        log_ratio_mean=displacements.log_ratio_mean,
        log_ratio_std=displacements.log_ratio_std,
    )


def simulate(
    key: jax.Array,
    true: Float[Array, "n k 2"],
    labelled: Bool[Array, "n k"],
    displacements: Displacements,
    skeleton: Skeleton,
    floor: float | Float[Array, " n"],
    flipped: Bool[Array, " n"] | None = None,
) -> tuple[Float[Array, "n k 2"], Float[Array, " n"]]:
    """Draws what the previous stage might have predicted; works inside jit.

    Args:
        key: of the draws.
        true: the true joints, in pixels.
        labelled: which of them are known.
        displacements: the previous stage's.
        skeleton: what the joints are.
        floor: of diam, in the same pixels.
        flipped: the samples that augmentation has mirrored, joints and all; they are drawn from `mirrored` statistics.

    Returns:
        centres: y_i + delta_i d, drawn on its own for each joint. Where a joint isn't labelled its centre is finite if
            the joint is, and means nothing.
        diams: d, what diam(y^{s-1}) might have been: diam(y) exp(r), at least `floor`.
    """
    joint_key, size_key = jax.random.split(key)
    noise = jax.random.normal(joint_key, true.shape)
    deltas = _deltas(displacements, noise)
    if flipped is not None:
        mirror = _deltas(mirrored(displacements, skeleton), noise)
        deltas = jnp.where(flipped[:, None, None], mirror, deltas)
    ratios = jnp.exp(
        displacements.log_ratio_mean
        + displacements.log_ratio_std * jax.random.normal(size_key, true.shape[:1])
    )
    diams = jnp.maximum(diam(true, skeleton, floor, labelled) * ratios, floor)  # [n]
    return true + deltas * diams[:, None, None], diams


def refiner_boxes(
    centres: Float[Array, "*b k 2"], diams: Float[Array, "*b"], sigma: float
) -> Float[Array, "*b k 4"]:
    """b_i = (y_i^{s-1}, sigma diam, sigma diam): a square box about each joint, (cx, cy, w, h) in pixels."""
    sides = jnp.broadcast_to(sigma * diams[..., None, None], centres.shape)
    return jnp.concatenate([centres, sides], -1)


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


def _diagonals(skeleton: Skeleton) -> np.ndarray:
    """The torso's two diagonals, [diagonal, end]."""
    torso = list(skeleton.torso)
    return np.array([torso, np.asarray(skeleton.swap)[torso]])


def _extent(joints: jax.Array, labelled: jax.Array) -> jax.Array:
    """Longer side of the labelled joints' bounding box, [*b]; -inf without any."""
    known = labelled[..., None]
    high = jnp.where(known, joints, -jnp.inf).max(-2)
    low = jnp.where(known, joints, jnp.inf).min(-2)
    return (high - low).max(-1)


def _deltas(displacements: Displacements, noise: jax.Array) -> jax.Array:
    """Standard normal noise [n, k, 2] to displacements with the given means and covariances."""
    covariance = displacements.covariance
    # The Cholesky factor [[a, 0], [b, c]] written out: LAPACK's is NaN where a covariance is singular.
    a = jnp.sqrt(covariance[:, 0, 0])  # [k]
    b = jnp.where(a > 0, covariance[:, 1, 0] / jnp.where(a > 0, a, 1), 0)
    c = jnp.sqrt(jnp.maximum(covariance[:, 1, 1] - b**2, 0))
    x, y = noise[..., 0], noise[..., 1]
    return displacements.mean + jnp.stack([a * x, b * x + c * y], -1)


def _check(
    predicted: np.ndarray,
    true: np.ndarray,
    labelled: np.ndarray,
    skeleton: Skeleton,
    floor: float | np.ndarray,
) -> None:
    shape = (len(true), skeleton.num_joints, 2)
    if predicted.shape != shape or true.shape != shape or labelled.shape != shape[:2]:
        raise ValueError(
            f"predicted and true must be {list(shape)} and labelled {list(shape[:2])}, not "
            f"{predicted.shape}, {true.shape} and {labelled.shape}"
        )
    if labelled.dtype != bool:
        raise ValueError(f"labelled must be bool, not {labelled.dtype}")
    if np.shape(floor) not in ((), shape[:1]) or not (np.asarray(floor) > 0).all():
        raise ValueError(f"floor must be positive, a number or [{shape[0]}]; got {floor}")
    broken = ~np.isfinite(predicted).all((1, 2))
    if broken.any():
        raise ValueError(f"predicted: {broken.sum()} of {len(predicted)} poses are not finite")
