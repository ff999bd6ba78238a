"""COCO's average precision of key points by object key point similarity (OKS).

The rules of COCO's evaluation (Lin et al., ECCV 2014; https://cocodataset.org/#keypoints-eval) in plain NumPy. OKS of a
pose and an annotated person is the mean of exp(-d_i^2 / (2 area (2 sigma_i)^2)) over the person's labelled joints, d_i
being joint i's error and sigma_i how far annotators differ about it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from deeppose_jax.joint_names import side_and_part
from deeppose_jax.skeleton import Skeleton
from engine_jax.statistics import bootstrap_weights, number, percentile_interval

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # of OKS, over which AP and AR are means
_RECALLS = np.linspace(0, 1, 101)
_SUMMARY = ("ap", "ap50", "ap75", "ar", "ar50", "ar75")
_MOST_POSES = 20  # of an image, by score
_AREAS = {"": (0.0, 1e10), "_medium": (32.0**2, 96.0**2), "_large": (96.0**2, 1e10)}
# COCO's sigmas by the part of the body. It has none for neck and head top: CrowdPose takes a shoulder's for both, and
# so does every other joint here.
_SIGMAS = {
    "nose": 0.026,
    "eye": 0.025,
    "ear": 0.035,
    "shoulder": 0.079,
    "elbow": 0.072,
    "wrist": 0.062,
    "hip": 0.107,
    "knee": 0.087,
    "ankle": 0.089,
}
_OTHER_SIGMA = 0.079


@dataclass(frozen=True)
class People:
    """Annotated people, n of them with k joints each, those that count and those that don't.

    Attributes:
        images: the number of the image that each is in.
        joints: (x, y) in the image's pixels.
        labelled: which joints are known.
        areas: of the person, in square pixels.
        boxes: (x0, y0, x1, y1) in the joints' coordinates.
        crowd: whether it stands for several people, whom any number of poses may match.
        ignored: poses that match it count neither for nor against the method: crowds, people without joints.
    """

    images: Int[np.ndarray, " n"]
    joints: Float[np.ndarray, "n k 2"]
    labelled: Bool[np.ndarray, "n k"]
    areas: Float[np.ndarray, " n"]
    boxes: Float[np.ndarray, "n 4"]
    crowd: Bool[np.ndarray, " n"]
    ignored: Bool[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.images)

    def rows(self, chosen: slice | np.ndarray) -> "People":
        """Some of the people."""
        return People(**{name: array[chosen] for name, array in vars(self).items()})


def joint_sigmas(skeleton: Skeleton) -> Float[np.ndarray, " k"]:
    """The skeleton's sigmas, or COCO's by the joints' names, and .079 for joints that COCO doesn't have."""
    if skeleton.sigmas is not None:
        return np.array(skeleton.sigmas)
    return np.array([_SIGMAS.get(side_and_part(name)[1], _OTHER_SIGMA) for name in skeleton.joints])


def similarities(
    joints: Float[np.ndarray, "m k 2"], people: People, sigmas: Float[np.ndarray, " k"]
) -> Float[np.ndarray, "m n"]:
    """OKS of every pose with every person; a joint that isn't finite is infinitely far.

    A person without labelled joints has them wherever they are closest, in the box enlarged by its own size to every
    side.
    """
    low, high = people.boxes[:, :2], people.boxes[:, 2:]
    size = high - low
    nearest = np.clip(joints[:, None], (low - size)[:, None], (high + size)[:, None])
    known = np.asarray(people.labelled.any(1))  # [n]
    target = np.where(known[:, None, None], people.joints, nearest)  # [m, n, k, 2]
    squared = np.square(joints[:, None] - target).sum(-1)  # [m, n, k]
    spread = 2 * (people.areas + np.spacing(1))[:, None] * np.square(2 * sigmas)  # [n, k]
    similar = np.exp(-np.where(np.isfinite(squared), squared, np.inf) / spread)
    weights = people.labelled | ~known[:, None]  # [n, k]
    return np.where(weights, similar, 0).sum(-1) / weights.sum(-1)


def oks_scores(
    joints: Float[np.ndarray, "m k 2"],
    scores: Float[np.ndarray, " m"],
    images: Int[np.ndarray, " m"],
    people: People,
    sigmas: Float[np.ndarray, " k"],
    *,
    resamples: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """Average precision and recall of poses, in percent.

    Args:
        joints: the poses, in the images' pixels.
        scores: by which they are ranked; of an image the 20 highest are taken.
        images: the number of the image that each is in.
        people: all annotated people in all images.
        sigmas: see `joint_sigmas`.
        resamples: number of bootstrap resamples of the images, for 95 % intervals; 0 leaves them out.
        seed: of the resamples.

    Returns:
        "ap" and "ar", the means over THRESHOLDS; "ap50", "ap75", "ar50" and "ar75" at single ones; "ap_medium",
        "ap_large", "ar_medium" and "ar_large" of people of 32^2 to 96^2 square pixels and of larger ones. None where
        there are no such people. "intervals": [low, high] of the first six, if there are resamples.

    Raises:
        ValueError: the arrays' shapes don't fit each other.
    """
    m, k = joints.shape[:2]
    if joints.shape != (m, k, 2) or scores.shape != (m,) or images.shape != (m,):
        raise ValueError(f"{m} poses, but scores {scores.shape} and images {images.shape}")
    if people.joints.shape[1:] != (k, 2) or sigmas.shape != (k,):
        raise ValueError(f"poses of {k} joints, but people {people.joints.shape}")
    groups = _by_image(scores, images, people)
    similar = [similarities(joints[mine], people.rows(theirs), sigmas) for mine, theirs in groups]
    pose_areas = np.ptp(joints, axis=1).prod(-1)
    result: dict[str, Any] = {}
    for name, (smallest, largest) in _AREAS.items():
        ignored = people.ignored | (people.areas < smallest) | (people.areas > largest)
        outside = (pose_areas < smallest) | (pose_areas > largest)
        outcome = _Outcome.of(groups, similar, scores, ignored, people.crowd, outside)
        summary = outcome.summary(np.ones(len(groups)))
        chosen = summary if not name else {key: summary[key] for key in ("ap", "ar")}
        result |= {f"{key}{name}": number(value) for key, value in chosen.items()}
        if not name and resamples:
            draws = bootstrap_weights(len(groups), resamples, seed)
            found = [outcome.summary(draw) for draw in draws]
            result["intervals"] = {
                key: percentile_interval(np.array([one[key] for one in found])) for key in summary
            }
    return result


@dataclass(frozen=True)
class _Outcome:
    """What became of the poses at each of t thresholds, in the order of their scores.

    Attributes:
        found: which match a person who counts.
        wrong: which match nobody, nor anybody who doesn't count.
        image: the index of each pose's image.
        people: how many people count in each image.
    """

    found: Bool[np.ndarray, "t m"]
    wrong: Bool[np.ndarray, "t m"]
    image: Int[np.ndarray, " m"]
    people: Int[np.ndarray, " images"]

    @classmethod
    def of(
        cls,
        groups: Sequence[tuple[np.ndarray, np.ndarray]],
        similar: Sequence[np.ndarray],
        scores: np.ndarray,
        ignored: np.ndarray,
        crowd: np.ndarray,
        outside: np.ndarray,
    ) -> "_Outcome":
        """Matches the poses and people of each image, see `_by_image`; poses that are `outside` of the sizes in
        question aren't wrong where they match nobody.
        """
        empty = np.zeros((len(THRESHOLDS), 0), bool)
        found, wrong, counts = [empty], [empty], []
        for (mine, theirs), oks in zip(groups, similar, strict=True):
            matched, to_ignored = _match(oks, ignored[theirs], crowd[theirs])
            found.append(matched & ~to_ignored)
            wrong.append(~matched & ~outside[mine])
            counts.append((~ignored[theirs]).sum())
        image = np.repeat(np.arange(len(groups)), [len(mine) for mine, _ in groups])
        ranked = np.concatenate([scores[:0], *(scores[mine] for mine, _ in groups)])
        order = np.argsort(-ranked, kind="stable")
        return cls(
            np.concatenate(found, 1)[:, order],
            np.concatenate(wrong, 1)[:, order],
            image[order],
            np.array(counts, int),
        )

    def summary(self, weights: Float[np.ndarray, " images"]) -> dict[str, float]:
        """The scores, where each image counts as often as its weight says; NaN without people."""
        people = float(weights @ self.people)
        if not people:
            return dict.fromkeys(_SUMMARY, math.nan)
        often = weights[self.image]
        hits, misses = (self.found * often).cumsum(1), (self.wrong * often).cumsum(1)
        recall = hits / people
        precision = hits / (hits + misses + np.spacing(1))
        highest = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]  # at this recall or more
        means = [
            np.append(row, 0.0)[np.searchsorted(reached, _RECALLS)].mean()
            for row, reached in zip(highest, recall, strict=True)
        ]
        last = recall[:, -1] if recall.shape[1] else np.zeros(len(THRESHOLDS))
        at = {"": slice(None), "50": 0, "75": 5}
        values = {"ap": np.array(means), "ar": last}
        return {
            f"{name}{short}": 100 * float(np.mean(array[chosen]))
            for name, array in values.items()
            for short, chosen in at.items()
        }


def expected_similarities(
    scales: Float[np.ndarray, "m k"] | None,
    boxes: Float[np.ndarray, "m 4"],
    sigmas: Float[np.ndarray, " k"],
) -> Float[np.ndarray, "m k"]:
    """A score of each joint by what a pose predicts of its own errors: its share of OKS if it is off by its scale.

    The mean over a pose's joints is the pose's score.

    Args:
        scales: the expected absolute error of either coordinate, in the images' pixels; None where a model predicts
            none, whose joints all score 1.
        boxes: (x0, y0, x1, y1) of the people; half of a box is taken for the person's area.
        sigmas: see `joint_sigmas`.
    """
    if scales is None:
        return np.ones((len(boxes), len(sigmas)))
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) / 2
    squared = 2 * np.square(scales)
    return np.exp(-squared / (2 * areas[:, None] * np.square(2 * sigmas)))


def _by_image(
    scores: np.ndarray, images: np.ndarray, people: People
) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each image, in the order of numbers, the indices of its best poses and of its people."""
    ranks = np.argsort(-scores, kind="stable")
    return [
        (ranks[images[ranks] == image][:_MOST_POSES], np.flatnonzero(people.images == image))
        for image in np.union1d(images, people.images)
    ]


def _match(
    oks: Float[np.ndarray, "m n"], ignored: Bool[np.ndarray, " n"], crowd: Bool[np.ndarray, " n"]
) -> tuple[Bool[np.ndarray, "t m"], Bool[np.ndarray, "t m"]]:
    """Which of an image's poses, in their order, match a person at each threshold, and which of them an ignored one.

    Each takes the free person of highest OKS, of equal ones the last, and an ignored one only where no other is left.
    """
    count, (m, n) = len(THRESHOLDS), oks.shape
    limits = np.minimum(THRESHOLDS, 1 - 1e-10)[:, None]
    free = np.ones((count, n), bool)
    matched, to_ignored = np.zeros((count, m), bool), np.zeros((count, m), bool)
    if not n:
        return matched, to_ignored
    rows = np.arange(count)
    for pose in range(m):
        fitting = free & (oks[pose] >= limits)  # [t, n]
        counted = fitting & ~ignored
        candidates = np.where(counted.any(1)[:, None], counted, fitting)
        ranked = np.where(candidates, oks[pose], -1)[:, ::-1]
        best = n - 1 - ranked.argmax(1)  # [t]
        hit = candidates.any(1)
        matched[:, pose] = hit
        to_ignored[:, pose] = hit & ignored[best]
        free[rows[hit], best[hit]] = crowd[best[hit]]
    return matched, to_ignored
