"""What the labels of a data set allow: which images can be used, and which joints are labelled nowhere."""

import logging
from dataclasses import replace

import numpy as np
from jaxtyping import Bool

from deeppose_jax.data.parts import Part, Parts
from deeppose_jax.skeleton import Skeleton
from engine_jax.errors import UserError, listed

# Of the names that a line lists: all of most skeletons' joints.
_JOINTS = 17


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


def checked_labels(parts: Parts) -> Parts:
    """The parts of a run, whose labels can be used; joints that no training image labels are unlabelled in the others.

    Nothing can be learnt of such a joint, so that its score would say nothing.

    Raises:
        UserError: a part has no image that can be used, and isn't the test part.
    """
    trained = parts.train.poses.labelled.any(axis=0)
    masked = {}
    for name in ("train", "validation", "test"):
        part: Part = getattr(parts, name)
        poses = replace(part.poses, labelled=part.poses.labelled & trained)
        check_usable(f"the {name} part", poses.labelled, parts.skeleton)
        masked[name] = replace(part, poses=poses)
    return replace(parts, **masked)
