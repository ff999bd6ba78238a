"""What the labels of a data set allow: which images can be used, and which joints are labelled nowhere."""

import logging
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from jaxtyping import Bool

from deeppose_jax.data.pose_set import PoseSet
from deeppose_jax.skeleton import Skeleton
from engine_jax.errors import UserError, listed

# Of the names that a line lists: all of a skeleton's joints.
_JOINTS = 14


def usable_images(labelled: Bool[np.ndarray, "n k"]) -> int:
    """How many images have a labelled joint."""
    return int(labelled.any(axis=1).sum())


def unlabelled_joints(labelled: Bool[np.ndarray, "n k"], skeleton: Skeleton) -> str:
    """The names of the joints that no image labels, as text; "" if there are none."""
    missing = np.flatnonzero(~labelled.any(axis=0))
    names = [skeleton.joints[joint] for joint in missing]
    return listed(names, _JOINTS)


def check_usable(name: str, labelled: Bool[np.ndarray, "n k"], skeleton: Skeleton) -> None:
    """Logs in one line how many images of a part can be used and which joints none of them labels, unless all are.

    Raises:
        UserError: no image has a labelled joint, in a part other than the test part.
    """
    usable, missing = usable_images(labelled), unlabelled_joints(labelled, skeleton)
    if not usable and name != "the test part":
        raise UserError(
            f"{name}: 0 of {len(labelled)} images have a labelled joint inside the image; expected some"
        )
    if usable < len(labelled) or missing:
        none = f"; none labels {missing}, not scored" if missing else ""
        logging.warning(
            "%s: %d of %d images have a labelled joint inside the image%s",
            *(name, usable, len(labelled), none),
        )


def scored_as_trained(
    train: PoseSet, others: Mapping[str, PoseSet], skeleton: Skeleton
) -> dict[str, PoseSet]:
    """Checks the labels of a run's parts; in the other parts, joints that no training image labels become unlabelled.

    Nothing can be learnt of such a joint, so that its score would say nothing.

    Raises:
        UserError: a part has no image that can be used, and isn't the test part.
    """
    check_usable("the train part", train.labelled, skeleton)
    trained = train.labelled.any(axis=0)
    masked = {
        name: replace(poses, labelled=poses.labelled & trained) for name, poses in others.items()
    }
    for name, poses in masked.items():
        check_usable(f"the {name} part", poses.labelled, skeleton)
    return masked
