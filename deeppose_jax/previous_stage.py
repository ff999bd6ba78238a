"""The errors of a stage, on which the next stage's refiners are trained."""

import io
import logging
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import jax
import numpy as np

from deeppose_jax.cascade import StagePoses
from deeppose_jax.config import RefinerConfig
from deeppose_jax.data.pose_set import PoseSet
from deeppose_jax.displacements import (
    Displacements,
    ObservedDisplacements,
    fit_normals,
    observed_displacements,
)
from deeppose_jax.refiner_boxes import smallest_diam
from deeppose_jax.skeleton import Skeleton
from engine_jax.errors import reason
from engine_jax.files import read_file, write_file


@dataclass(frozen=True)
class MeasuredPoses:
    """A stage's poses on a part whose true poses are known.

    Attributes:
        part: the part's name, as text.
        predicted: the stage's poses.
        poses: the part.
    """

    part: str
    predicted: StagePoses
    poses: PoseSet

    def observed(self, skeleton: Skeleton) -> ObservedDisplacements:
        """The errors themselves."""
        return observed_displacements(*self._errors(skeleton))

    def normals(self, skeleton: Skeleton) -> Displacements:
        """The normal distributions that are fitted to the errors (DeepPose, section 3.2)."""
        return fit_normals(*self._errors(skeleton))

    def _errors(self, skeleton: Skeleton) -> tuple[Any, Any, Any, Skeleton, np.ndarray]:
        floor = np.asarray(smallest_diam(self.poses.boxes))
        return self.predicted.joints, self.poses.joints, self.poses.labelled, skeleton, floor


def needs_training_poses(refiner: RefinerConfig, number: int, stages: int) -> bool:
    """Whether the errors of stage `number` on the whole training part are needed by the next stage."""
    return number < stages and refiner.measured_on == "train"


def cached_poses(path: Path, count: int, predict: Callable[[], StagePoses]) -> StagePoses:
    """The poses in a file; where there is none, or a damaged one, those that `predict` gives, which are written to it.

    Args:
        path: of the file.
        count: of the images whose poses they are.
        predict: makes the poses.
    """
    try:
        return _read_poses(path, count)
    except FileNotFoundError:
        pass
    except Exception as error:  # NumPy and zipfile raise all kinds of errors at damaged files.
        logging.warning("%s: damaged (%s); made again", path, reason(error))
    poses = predict()
    if jax.process_index() == 0:
        arrays = {field.name: getattr(poses, field.name) for field in fields(StagePoses)}
        file = io.BytesIO()
        np.savez(file, **{name: x for name, x in arrays.items() if x is not None})
        write_file(path, file.getvalue())
    return poses


def _read_poses(path: Path, count: int) -> StagePoses:
    with np.load(io.BytesIO(read_file(path))) as arrays:
        poses = StagePoses(**{field.name: arrays.get(field.name) for field in fields(StagePoses)})
    if poses.joints is None or poses.boxes is None:
        raise ValueError("no joints and boxes")
    for array in (poses.joints, poses.boxes, poses.scales):
        if array is not None and len(array) != count:
            raise ValueError(f"{len(array)} poses of {count} images")
    return poses
