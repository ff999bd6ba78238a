"""Makes the scales that heads predict the errors that are seen: one factor for each stage and type of joint.

A network learns its scales on images that it is trained on, whose errors become smaller than those of others. A factor
is fitted on validation images, where a stage's mean scale then equals its mean error.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from deeppose_jax.cascade import StagePoses
from deeppose_jax.data.pose_set import PoseSet
from deeppose_jax.skeleton import Skeleton
from engine_jax.errors import UserError
from engine_jax.run_folder import read_json, write_json

NAME = "scale_factors.json"  # in the folder of a stage's checkpoints
_KEY = "factors"


def scale_factors(
    poses: StagePoses, true: PoseSet, skeleton: Skeleton
) -> Float[np.ndarray, " k"] | None:
    """The sum of the errors over the sum of the scales, of labelled joints; left and right joints share it.

    1 for a joint that is nowhere labelled; None for a stage that predicts no scales.

    Args:
        poses: a stage's, in canvas pixels.
        true: the images that they are of, which the stage wasn't trained on.
        skeleton: of their joints.
    """
    if poses.scales is None:
        return None
    errors, scales = _sums(poses, true)
    swap = list(skeleton.swap)
    errors, scales = errors + errors[swap], scales + scales[swap]
    return np.where(errors > 0, errors / np.where(scales > 0, scales, 1), 1.0)


def calibrated(poses: StagePoses, factors: Float[np.ndarray, " k"] | None) -> StagePoses:
    """The poses with their scales times the factors."""
    if poses.scales is None or factors is None:
        return poses
    return replace(poses, scales=(poses.scales * factors).astype(np.float32))


def expected_and_seen(
    poses: StagePoses, true: PoseSet
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Each joint's mean scale and mean absolute error of a coordinate, in canvas pixels; NaN where none is labelled."""
    errors, scales = _sums(poses, true)
    counts = true.labelled.sum(0).astype(float)
    counts[counts == 0] = np.nan
    return scales / counts, errors / counts


def _sums(poses: StagePoses, true: PoseSet) -> tuple[np.ndarray, np.ndarray]:
    """The sums over labelled joints, [k]: of the mean absolute errors of both coordinates, and of the scales."""
    errors = np.abs(np.asarray(poses.joints, np.float64) - true.joints).mean(-1)
    scales = np.asarray(poses.scales, np.float64)
    return (errors * true.labelled).sum(0), (scales * true.labelled).sum(0)


def write_factors(folder: Path, factors: Float[np.ndarray, " k"]) -> None:
    """Stores a stage's factors beside its checkpoints."""
    write_json(folder / NAME, {_KEY: factors.tolist()})


def read_factors(folder: Path, count: int) -> Float[np.ndarray, " k"] | None:
    """A stage's factors; None where none are stored, as in runs of earlier versions.

    Raises:
        UserError: the file can't be read, or doesn't hold `count` positive numbers.
    """
    path = folder / NAME
    return checked_factors(read_json(path).get(_KEY), count, str(path)) if path.exists() else None


def checked_factors(stored: object, count: int, where: str) -> Float[np.ndarray, " k"] | None:
    """Factors from JSON; `where` is what to call it in an error.

    Raises:
        UserError: it is neither null nor `count` positive numbers.
    """
    if stored is None:
        return None
    numbers = stored if isinstance(stored, list) else []
    factors = np.array([x for x in numbers if type(x) in (int, float)], np.float64)
    if len(factors) != count or not (np.isfinite(factors) & (factors > 0)).all():
        raise UserError(f"{where}: factors of scales are {stored!r}; accepted: {count} above 0")
    return factors
