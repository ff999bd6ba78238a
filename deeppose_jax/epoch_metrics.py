"""Scores of poses on a part of the data, those of each part during training, and the choice of parameters by them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deeppose_jax import metrics
from deeppose_jax.cascade import StagePoses
from deeppose_jax.config import ChosenBy, PoseConfig
from deeppose_jax.data.parts import Part, Parts
from deeppose_jax.data.pose_set import PoseSet
from deeppose_jax.oks import People, expected_similarities, joint_sigmas, oks_scores
from deeppose_jax.predictor import Predictions, to_image_pixels
from deeppose_jax.skeleton import Skeleton
from engine_jax.errors import UserError, listed


def evaluated_parts(parts: Parts, settings: PoseConfig) -> dict[str, Part]:
    """The validation and test parts, and the first images of the training part."""
    first = parts.train.first(settings.evaluation.train_images)
    return {"train": first, "validation": parts.validation, "test": parts.test}


def epoch_metrics(
    found: Mapping[str, Predictions], parts: Mapping[str, Part], skeleton: Skeleton
) -> dict[str, float]:
    """The losses and main scores of all parts, as "PART/METRIC"; "validation/loss" alone where that is not finite.

    What can't be measured, as the loss of a part without labels, is left out.
    """
    values = {
        f"{name}/loss": float(found[name].losses.mean())
        for name, part in parts.items()
        if name == "validation" or (name == "test" and np.any(part.poses.labelled))
    }
    if not np.isfinite(values["validation/loss"]):
        return {"validation/loss": values["validation/loss"]}
    for name, part in parts.items():
        scores = part_scores(found[name], part.poses, part.people, skeleton, resamples=0)
        shown = metrics.main_scores(scores, skeleton)
        values |= {f"{name}/{key}": value for key, value in shown.items()}
    return values


def criterion(chosen_by: ChosenBy, values: Mapping[str, float]) -> float:
    """Of `epoch_metrics`, what the best parameters have least of: the validation loss, or a score times -1.

    NaN where the score wasn't measured.
    """
    value = values.get(f"validation/{chosen_by}", math.nan)
    return value if chosen_by == "loss" else -value


def check_choice(parts: Parts, settings: PoseConfig) -> None:
    """Raises a UserError if what is to choose the best parameters can't be measured on the validation part."""
    chosen_by, part = settings.evaluation.chosen_by, parts.validation
    if chosen_by == "loss":
        return
    poses = part.poses
    true = to_image_pixels(poses.joints, poses)
    perfect = Predictions(
        true, np.zeros(len(poses)), StagePoses(poses.joints, None, poses.boxes[:, None])
    )
    scores = part_scores(perfect, poses, part.people, parts.skeleton, resamples=0)
    measured = metrics.main_scores(scores, parts.skeleton)
    if chosen_by not in measured:
        raise UserError(
            f"config.evaluation.chosen_by: {chosen_by!r} can't be measured on the validation part; accepted: "
            f"{listed(['loss', *measured])}"
        )


def part_scores(
    found: Predictions,
    poses: PoseSet,
    people: People | None,
    skeleton: Skeleton,
    thresholds: Sequence[float] = (0.1, 0.2, 0.5),
    *,
    resamples: int,
    seed: int = 0,
) -> dict[str, Any]:
    """`metrics.score` of the predictions for a part, with COCO's scores under "oks" where people's areas are known.

    Args:
        found: for the images of `poses`.
        people: see `Part`; None leaves "oks" None.
    """
    true = to_image_pixels(poses.joints, poses)
    result = metrics.score(
        found.joints, true, poses.labelled, skeleton, thresholds, resamples=resamples, seed=seed
    )
    result["oks"] = None
    if people is not None:
        sigmas, own = joint_sigmas(skeleton), people.rows(slice(len(poses)))
        scales = found.stage.scales
        if scales is not None:
            scales = scales * poses.to_image[:, 0, 0, None]
        sure = expected_similarities(scales, own.boxes, sigmas).mean(1)
        oks = oks_scores(
            found.joints, sure, own.images, people, sigmas, resamples=resamples, seed=seed
        )
        if resamples:
            result["intervals"]["oks"] = oks.pop("intervals")
        result["oks"] = oks
    return result
