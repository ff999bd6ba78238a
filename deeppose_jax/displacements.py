"""A stage's errors, which the next stage's refiners are trained to correct: fitted, observed, and drawn.

A refiner of stage s >= 2 sees a box of side sigma diam(y^{s-1}) around the previous stage's joint y_i^{s-1} and
corrects that joint (DeepPose, section 3.2). To train it on more than one box an image, DeepPose simulates
predictions: y_i + delta_i, where delta_i is drawn from a normal distribution that was fitted to the displacements
y_i^{s-1} - y_i of the training set. Two things that the paper leaves open, or that are done differently here:

- Displacements are in units of diam(y^{s-1}), as is the box. The target in the box's frame is then -delta_i / sigma,
  however large the previous stage predicts the torso.
- While a refiner is trained there is no y^{s-1}, and boxes of diam(y) would show every figure at its true size. So the
  error in size is drawn as well: log(diam(y^{s-1}) / diam(y)), from its own normal distribution, once an image.

Real displacements have heavier tails than a normal: most joints are nearly right, a few are on the other side of the
body. The normal with their variance draws targets several times as far away as most that a refiner will meet;
`ObservedDisplacements` draws from the displacements themselves instead.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from deeppose_jax.refiner_boxes import diam
from deeppose_jax.skeleton import Skeleton

# For joints that fewer than two images label, in units of diam. No loss depends on it; a box has to go somewhere.
DEFAULT_STD = 0.5


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Displacements:
    """Normal distributions fitted to a stage's displacements, in units of the predicted pose's diam.

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

    def draw(
        self, key: jax.Array, count: int
    ) -> tuple[Float[Array, "count k 2"], Float[Array, "count k"]]:
        """Displacements, independent for each joint, and log ratios of size, one for all joints of an image."""
        joint_key, size_key = jax.random.split(key)
        k = self.mean.shape[0]
        deltas = _normal(self.mean, self.covariance, jax.random.normal(joint_key, (count, k, 2)))
        log_ratios = self.log_ratio_mean + self.log_ratio_std * jax.random.normal(
            size_key, (count,)
        )
        return deltas, jnp.broadcast_to(log_ratios[:, None], (count, k))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ObservedDisplacements:
    """A stage's displacements one by one, with the tails that a normal doesn't have.

    Attributes:
        deltas: (y_i^{s-1} - y_i) / diam(y^{s-1}) of m images, sorted for each joint separately: images that label the
            joint come first.
        log_ratios: log(diam(y^{s-1}) / diam(y)) of the same images, in the same order.
        counts: how many of the m images label each joint.
    """

    deltas: Float[Any, "m k 2"]
    log_ratios: Float[Any, "m k"]
    counts: Int[Any, " k"]

    def draw(
        self, key: jax.Array, count: int
    ) -> tuple[Float[Array, "count k 2"], Float[Array, "count k"]]:
        """For each image and joint the displacement in an image drawn at random, and that image's log ratio."""
        k = self.counts.shape[0]
        at = jax.random.randint(key, (count, k), 0, jnp.maximum(self.counts, 1))
        joints = jnp.arange(k)
        return jnp.asarray(self.deltas)[at, joints], jnp.asarray(self.log_ratios)[at, joints]


def observed_displacements(
    predicted: Float[np.ndarray, "n k 2"],
    true: Float[np.ndarray, "n k 2"],
    labelled: Bool[np.ndarray, "n k"],
    skeleton: Skeleton,
    floor: float | Float[np.ndarray, "*#n"],
) -> ObservedDisplacements:
    """The displacements of a stage's predictions.

    Args:
        predicted: the stage's joints, in any pixels that are the same for all joints of an image.
        true: the true joints in the same pixels.
        labelled: which of them are known.
        skeleton: what the joints are.
        floor: of diam, in the same pixels.

    Returns:
        Float32 arrays. An image that labels no diagonal of the torso has no known size, and gets log ratio 0.

    Raises:
        ValueError: on wrong shapes, a floor that isn't positive, or predictions that aren't finite.
    """
    deltas, log_ratios = _relative(predicted, true, labelled, skeleton, floor)
    log_ratios = np.broadcast_to(np.nan_to_num(log_ratios)[:, None], labelled.shape)
    order = np.argsort(~labelled, axis=0, kind="stable")  # [n, k]
    deltas = np.take_along_axis(np.where(labelled[..., None], deltas, 0), order[..., None], 0)
    return ObservedDisplacements(
        deltas.astype(np.float32),
        np.take_along_axis(log_ratios, order, 0).astype(np.float32),
        labelled.sum(0).astype(np.int32),
    )


def fit_normals(
    predicted: Float[np.ndarray, "n k 2"],
    true: Float[np.ndarray, "n k 2"],
    labelled: Bool[np.ndarray, "n k"],
    skeleton: Skeleton,
    floor: float | Float[np.ndarray, "*#n"],
) -> Displacements:
    """Fits the normal distributions of DeepPose, section 3.2, to a stage's predictions.

    Each joint is fitted over the images that label it, the size over the images that label a diagonal of the torso.

    Args:
        predicted, true, labelled, skeleton, floor: as for `observed_displacements`.

    Returns:
        Float32 arrays. Covariances and standard deviations are the unbiased ones (ddof 1, as np.cov). A joint that
        fewer than two images label gets mean 0 and covariance DEFAULT_STD^2 I; sizes likewise get mean 0 and
        deviation 0.

    Raises:
        ValueError: as `observed_displacements`.
    """
    deltas, log_ratios = _relative(predicted, true, labelled, skeleton, floor)
    k = skeleton.num_joints
    mean = np.zeros((k, 2))
    covariance = np.tile(DEFAULT_STD**2 * np.eye(2), (k, 1, 1))
    for joint in range(k):
        known = deltas[labelled[:, joint], joint]
        if len(known) >= 2:
            mean[joint], covariance[joint] = known.mean(0), np.cov(known, rowvar=False)

    ratios = log_ratios[np.isfinite(log_ratios)]
    centre, spread = (ratios.mean(), ratios.std(ddof=1)) if len(ratios) >= 2 else (0.0, 0.0)
    return Displacements(
        *(np.asarray(value, np.float32) for value in (mean, covariance, centre, spread))
    )


def simulate(
    key: jax.Array,
    true: Float[Array, "n k 2"],
    labelled: Bool[Array, "n k"],
    displacements: Displacements | ObservedDisplacements,
    skeleton: Skeleton,
    floor: float | Float[Array, "*#n"],
    flipped: Bool[Array, " n"] | None = None,
) -> tuple[Float[Array, "n k 2"], Float[Array, "n k"]]:
    """Draws what the previous stage might have predicted; works inside jit.

    Args:
        key: of the draws.
        true: the true joints, in pixels.
        labelled: which of them are known.
        displacements: the previous stage's.
        skeleton: what the joints are.
        floor: of diam, in the same pixels.
        flipped: samples that augmentation has mirrored, joints included; their displacements are mirrored, too.

    Returns:
        centres: y_i + delta_i d, drawn independently for each joint. For a joint that isn't labelled the centre is
            arbitrary, but finite if the joint is.
        diams: d, what diam(y^{s-1}) might have been: diam(y) exp(r), at least `floor`.
    """
    deltas, log_ratios = displacements.draw(key, true.shape[0])
    if flipped is not None:
        swap = np.asarray(skeleton.swap)
        mirrored = deltas[:, swap] * jnp.array([-1.0, 1.0])
        deltas = jnp.where(flipped[:, None, None], mirrored, deltas)
        log_ratios = jnp.where(flipped[:, None], log_ratios[:, swap], log_ratios)
    sizes = diam(true, skeleton, floor, labelled)[:, None] * jnp.exp(log_ratios)
    diams = jnp.maximum(sizes, jnp.asarray(floor)[..., None])  # [n, k]
    return true + deltas * diams[..., None], diams


def _relative(
    predicted: np.ndarray,
    true: np.ndarray,
    labelled: np.ndarray,
    skeleton: Skeleton,
    floor: float | np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Displacements in units of diam [n, k, 2], and log ratios of size [n], NaN where no diagonal is labelled."""
    predicted, true = np.asarray(predicted, np.float64), np.asarray(true, np.float64)
    _check(predicted, true, labelled, skeleton, floor)
    sizes = np.asarray(diam(predicted, skeleton, floor), np.float64)  # [n]
    if skeleton.torso is None:  # The size is that of the labelled joints' extent.
        known = labelled.any(1)
    else:
        known = labelled[:, np.array(skeleton.torso_diagonals)].all(-1).any(-1)  # [n]
    log_ratios = np.log(sizes / np.asarray(diam(true, skeleton, floor, labelled), np.float64))
    return (predicted - true) / sizes[:, None, None], np.where(known, log_ratios, np.nan)


def _normal(mean: jax.Array, covariance: jax.Array, noise: jax.Array) -> jax.Array:
    """Standard normal noise [n, k, 2] to draws with the given means and covariances."""
    # The Cholesky factor [[a, 0], [b, c]] written out: LAPACK's is NaN where a covariance is singular.
    a = jnp.sqrt(covariance[:, 0, 0])  # [k]
    b = jnp.where(a > 0, covariance[:, 1, 0] / jnp.where(a > 0, a, 1), 0)
    c = jnp.sqrt(jnp.maximum(covariance[:, 1, 1] - b**2, 0))
    x, y = noise[..., 0], noise[..., 1]
    return mean + jnp.stack([a * x, b * x + c * y], -1)


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
