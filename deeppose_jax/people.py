"""People in images and their poses, as predictions.json and COCO's results hold them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from deeppose_jax.oks import expected_similarities, joint_sigmas
from deeppose_jax.person_boxes import PersonBox, PersonBoxes
from deeppose_jax.pose_model import Prediction, StagePose
from deeppose_jax.skeleton import Skeleton


@dataclass(frozen=True)
class Person:
    """A person in an image, and the pose in the box that the model was given.

    Attributes:
        found: where the person is.
        prediction: the pose.
        joint_scores: of each joint, 0 to 1, see `oks.expected_similarities`.
    """

    found: PersonBox
    prediction: Prediction
    joint_scores: Float[np.ndarray, " k"]

    @property
    def score(self) -> float:
        """The mean of the joints' scores, times the box's if it has one."""
        known = 1.0 if self.found.score is None else self.found.score
        return known * float(self.joint_scores.mean())

    def entry(self, stages: bool) -> dict[str, Any]:
        """The person in predictions.json, with the poses of all stages if asked for."""
        found = {
            "box": list(self.found.box),
            "box_score": self.found.score,
            "input_box": list(self.prediction.box),
            **_pose_entry(self.prediction.stages[-1]),
            "score": round(self.score, 6),
            "joint_scores": self.joint_scores.round(6).tolist(),
        }
        if stages:
            found["stages"] = [_pose_entry(stage) for stage in self.prediction.stages]
        return found


def scored(found: PersonBox, prediction: Prediction, skeleton: Skeleton) -> Person:
    """The person whose pose was predicted, with the scores of its joints."""
    scales = None if prediction.scales is None else prediction.scales[None]
    (sure,) = expected_similarities(scales, np.array(found.box)[None], joint_sigmas(skeleton))
    return Person(found, prediction, sure)


def _pose_entry(pose: StagePose) -> dict[str, Any]:
    return {
        "joints": pose.joints.round(3).tolist(),
        "scales": None if pose.scales is None else pose.scales.round(3).tolist(),
    }


def coco_results(
    entries: Sequence[Mapping[str, Any]], boxes: PersonBoxes | None
) -> list[dict[str, Any]]:
    """Predictions as COCO's results of key points: a list with an object for each person.

    Args:
        entries: of predictions.json.
        boxes: give the images' numbers; images without one are numbered in their order, from 1.
    """
    results = []
    for order, entry in enumerate(entries, start=1):
        number = None if boxes is None else boxes.number(Path(entry["file"]))
        for person in entry["people"]:
            points = zip(person["joints"], person["joint_scores"], strict=True)
            results.append(
                {
                    "image_id": order if number is None else number,
                    "category_id": 1,
                    "keypoints": [value for (x, y), score in points for value in (x, y, score)],
                    "score": person["score"],
                }
            )
    return results
