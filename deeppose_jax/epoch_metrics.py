"""Losses and main scores of each part during training."""

from collections.abc import Mapping

import jax
import numpy as np

from deeppose_jax import metrics
from deeppose_jax.config import PoseConfig
from deeppose_jax.data.load import Parts
from deeppose_jax.data.pose_set import PoseSet
from deeppose_jax.predictor import Predictions, to_image_pixels
from deeppose_jax.skeleton import Skeleton


def evaluated_sets(parts: Parts, settings: PoseConfig) -> dict[str, PoseSet]:
    """The validation and test parts, and the first images of the training part."""
    first = jax.tree.map(lambda array: array[: settings.evaluation.train_images], parts.train.poses)
    return {"train": first, "validation": parts.validation.poses, "test": parts.test.poses}


def epoch_metrics(
    found: Mapping[str, Predictions], sets: Mapping[str, PoseSet], skeleton: Skeleton
) -> dict[str, float]:
    """The losses and main scores of all sets, as "SET/METRIC"; "validation/loss" alone where that is not finite.

    What can't be measured, as the loss of a part without labels, is left out.
    """
    values = {
        f"{name}/loss": float(found[name].losses.mean())
        for name, poses in sets.items()
        if name == "validation" or (name == "test" and np.any(poses.labelled))
    }
    if not np.isfinite(values["validation/loss"]):
        return {"validation/loss": values["validation/loss"]}
    for name, poses in sets.items():
        scores = metrics.score(
            found[name].joints,
            to_image_pixels(poses.joints, poses),
            poses.labelled,
            skeleton,
            resamples=0,
        )
        shown = {row: scores[row]["four_limbs"] for row in ("pcp_strict", "pcp_loose")}
        shown |= {f"pdj_{threshold}": row["total"] for threshold, row in scores["pdj"].items()}
        # A score is None where a part labels nothing that it could be measured on.
        values |= {f"{name}/{key}": value for key, value in shown.items() if value is not None}
    return values
