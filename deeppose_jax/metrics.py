"""Scores of predicted poses: PCP, PDJ and the area under it, and PCKh, with bootstrap intervals.

Plain NumPy in float64 on the host. Distances are relative to lengths in the same image, so that any
unit and origin will do, as long as an image's predictions and ground truth share them: normally the
original image's pixels.

Every score is computed in two steps: the rate of each single stick or joint over the images in which
it is labelled, then plain means of these rates. A part's score is the mean over its left and right
stick, `six_parts` the mean over parts, `ten_sticks` the mean over sticks, and PDJ's `total` the mean
over joints. Means leave out sticks and joints that no image labels; without any the score is None. PCP is None for a
skeleton without sticks, PDJ without a torso, and PCKh without a head. `deeppose_jax.oks` has COCO's average precision.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from deeppose_jax.skeleton import Skeleton
from engine_jax.statistics import (
    bootstrap_weights,
    divide,
    map_leaves,
    number,
    percentile_interval,
)

PCP_THRESHOLD = 0.5
AREA_LIMIT = 0.5  # PDJ's area is taken over thresholds 0 .. AREA_LIMIT.
PCKH_THRESHOLDS = (0.1, 0.5)  # in lengths of the head segment

# What `score` gives, beside the number of images.
SCORES = ("pcp_strict", "pcp_loose", "pdj", "pdj_auc", "pckh")

Hits = tuple[np.ndarray, np.ndarray]  # what is correct, and what is evaluated, [n, m] each


def joint_errors(
    pred: Float[np.ndarray, "n k 2"], true: Float[np.ndarray, "n k 2"]
) -> Float[np.ndarray, "n k"]:
    """Euclidean distance between predicted and true joints, in their unit.

    Raises:
        ValueError: the shapes differ or are not [n, k, 2].
    """
    pred, true = np.asarray(pred, np.float64), np.asarray(true, np.float64)
    if pred.shape != true.shape or true.ndim != 3 or true.shape[-1] != 2:
        raise ValueError(f"pred and true must both be [n, k, 2], not {pred.shape} and {true.shape}")
    return np.hypot(*np.moveaxis(pred - true, -1, 0))


def stick_correct(
    pred: Float[np.ndarray, "n k 2"],
    true: Float[np.ndarray, "n k 2"],
    labelled: Bool[np.ndarray, "n k"],
    skeleton: Skeleton,
    threshold: float = PCP_THRESHOLD,
    *,
    strict: bool = True,
) -> tuple[Bool[np.ndarray, "n sticks"], Bool[np.ndarray, "n sticks"]]:
    """Which sticks are correct (PCP), and which of them are evaluated.

    Strict: the distance of each end to the true end is at most `threshold` times the true stick's
    length. Loose: the mean of the two ends' distances is. Both are common readings of Ferrari et al.,
    CVPR 2008. A true stick of length zero is evaluated, and correct only if it is hit exactly: only
    so can published scores on Leeds Sports Pose be reproduced, whose image 1185 has such a stick.

    Returns:
        correct: correct sticks; false where the stick is not evaluated.
        counted: evaluated sticks: all of their joints are labelled.

    Raises:
        ValueError: the arrays' shapes do not fit each other or the skeleton.
    """
    _check(pred, true, labelled, skeleton)
    true_start, true_stop = _ends(true, skeleton)  # [n, sticks, 2]
    pred_start, pred_stop = _ends(pred, skeleton)
    limit = threshold * joint_errors(true_start, true_stop)  # [n, sticks]
    start, stop = joint_errors(pred_start, true_start), joint_errors(pred_stop, true_stop)
    within = (start <= limit) & (stop <= limit) if strict else (start + stop) / 2 <= limit
    joints = [list(stick.start + stick.stop) for stick in skeleton.sticks]
    counted = np.stack([np.asarray(labelled)[:, j].all(1) for j in joints], 1)
    return within & counted, counted


def pdj_correct(
    pred: Float[np.ndarray, "n k 2"],
    true: Float[np.ndarray, "n k 2"],
    labelled: Bool[np.ndarray, "n k"],
    skeleton: Skeleton,
    threshold: float,
) -> tuple[Bool[np.ndarray, "n k"], Bool[np.ndarray, "n k"]]:
    """Which joints are detected (PDJ), and which of them are evaluated.

    A joint is detected if its distance to the true joint is at most `threshold` times the true torso
    diameter, the distance between the skeleton's two opposing torso joints (Sapp and Taskar, CVPR
    2013; DeepPose, section 4.1). A torso of length zero is treated as in `stick_correct`.

    Returns:
        correct: detected joints; false where the joint is not evaluated.
        counted: evaluated joints: labelled ones of images in which both torso joints are labelled.

    Raises:
        ValueError: the arrays' shapes do not fit each other or the skeleton, or it has no torso.
    """
    _check(pred, true, labelled, skeleton)
    return _within(pred, true, labelled, _segment(skeleton, "torso"), threshold)


def pckh_correct(
    pred: Float[np.ndarray, "n k 2"],
    true: Float[np.ndarray, "n k 2"],
    labelled: Bool[np.ndarray, "n k"],
    skeleton: Skeleton,
    threshold: float,
) -> tuple[Bool[np.ndarray, "n k"], Bool[np.ndarray, "n k"]]:
    """Which joints are detected (PCKh), and which of them are evaluated.

    As `pdj_correct`, in lengths of the true head segment, `skeleton.head` (Andriluka et al., CVPR 2014, who take 0.6 of
    the diagonal of an annotated head box for it).

    Raises:
        ValueError: the arrays' shapes do not fit each other or the skeleton, or it has no head segment.
    """
    _check(pred, true, labelled, skeleton)
    return _within(pred, true, labelled, _segment(skeleton, "head"), threshold)


def pdj_area(
    pred: Float[np.ndarray, "n k 2"],
    true: Float[np.ndarray, "n k 2"],
    labelled: Bool[np.ndarray, "n k"],
    skeleton: Skeleton,
    limit: float = AREA_LIMIT,
) -> tuple[Float[np.ndarray, "n k"], Bool[np.ndarray, "n k"]]:
    """Each joint's contribution to the area under PDJ over thresholds 0 .. limit, and which joints are evaluated.

    PDJ is a step function of its threshold t: a joint with an error of r torso diameters adds a step
    at t = r. (1 / limit) * integral of PDJ(t) dt over 0 .. limit is therefore exactly the mean of
    max(0, 1 - r / limit), without a grid of thresholds.

    Returns:
        area: in 0 .. 1; 0 where the joint is not evaluated.
        counted: as in `pdj_correct`.

    Raises:
        ValueError: the arrays' shapes do not fit each other or the skeleton, or it has no torso.
    """
    _check(pred, true, labelled, skeleton)
    torso = _segment(skeleton, "torso")
    counted = _with_segment(labelled, torso)
    error = joint_errors(pred, true)
    widest = limit * _lengths(true, torso)  # [n, 1]
    within = counted & (error <= widest)  # False for a prediction that is NaN.
    ratio = divide(np.where(within, error, 0), widest, otherwise=0)
    return np.where(within, 1 - ratio, 0), counted


def score(
    pred: Float[np.ndarray, "n k 2"],
    true: Float[np.ndarray, "n k 2"],
    labelled: Bool[np.ndarray, "n k"],
    skeleton: Skeleton,
    thresholds: Sequence[float] = (0.1, 0.2, 0.5),
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Every score of a set of predictions, in percent, ready for JSON.

    Args:
        pred: predicted joints. One that is not finite is wrong.
        true: the true joints in the same frame, normally the original image's pixels.
        labelled: which true joints are known; the others are ignored.
        skeleton: of the joints.
        thresholds: at which PDJ is measured.
        resamples: number of bootstrap resamples of the images, for 95 % intervals (percentile
            bootstrap, Efron 1979). 0 leaves the intervals out.
        seed: of the resamples. The same seed draws the same images for every method that is scored.

    Returns:
        `images`: n. `pcp_strict`, `pcp_loose`: PCP at 0.5 by part and by the skeleton's means.
        `pdj`: by threshold (the key "0.2" for 0.2), then by joint group and `total`. `pdj_auc`: the
        area under PDJ over 0 .. 0.5, 100 for a perfect pose, likewise. `pckh`: as `pdj`, at
        PCKH_THRESHOLDS. `intervals`: these five again, with [low, high] instead of each number.
        None where nothing was evaluated.

    Raises:
        ValueError: the arrays' shapes do not fit each other or the skeleton, or a threshold is not
            a positive number.
    """
    for threshold in thresholds:
        if not 0 < threshold < math.inf:
            raise ValueError(f"thresholds: {threshold} is not a positive number")
    args = (pred, true, labelled, skeleton)
    sticks: dict[str, Hits] = {}
    joints: dict[str, Hits | dict[str, Hits]] = {}
    if skeleton.sticks:
        sticks["pcp_strict"] = stick_correct(*args, strict=True)
        sticks["pcp_loose"] = stick_correct(*args, strict=False)
    if skeleton.torso is not None:
        joints["pdj"] = {f"{t:g}": pdj_correct(*args, t) for t in thresholds}
        joints["pdj_auc"] = pdj_area(*args)
    if skeleton.head is not None:
        joints["pckh"] = {f"{t:g}": pckh_correct(*args, t) for t in PCKH_THRESHOLDS}

    def means(hits: Hits, weights: np.ndarray) -> dict[str, np.ndarray]:
        values, counted = hits
        return _joint_means(_rates(values, counted, weights), skeleton)

    def summary(weights: Float[np.ndarray, "r n"], leaf: Callable[[Any], Any]) -> dict[str, Any]:
        parts = {
            name: _pcp_means(_rates(*hits, weights), skeleton) for name, hits in sticks.items()
        }
        groups = map_leaves(lambda hits: means(hits, weights), joints)
        return {**dict.fromkeys(SCORES), **map_leaves(leaf, {**parts, **groups})}

    n = len(true)
    _check(*args)
    result = {"images": n, **summary(np.ones((1, n)), number)}
    if resamples:
        draws = bootstrap_weights(n, resamples, seed)
        result["intervals"] = summary(draws, percentile_interval)
    return result


def look_up(score: Mapping[str, Any], path: Sequence[str]) -> Any:
    """The value of a score at nested keys such as ("pdj", "0.2", "total"); None if one of them is missing."""
    found: Any = score
    for key in path:
        found = (found or {}).get(key)
    return found


def main_scores(score: Mapping[str, Any], skeleton: Skeleton) -> dict[str, float]:
    """The scores that are followed through a training, as far as they were measured.

    Args:
        score: of `score`, with COCO's average precision under "oks" where it is known.
        skeleton: of the poses.

    Returns:
        PCP of the skeleton's limbs, PDJ and PCKh of all joints: "pcp_strict", "pcp_loose", "pdj_0.2", "pckh_0.5",
        "oks_ap" and the like.
    """
    paths = {name: (name, skeleton.limb_parts or "") for name in ("pcp_strict", "pcp_loose")}
    for name in ("pdj", "pckh"):
        paths |= {f"{name}_{t}": (name, t, "total") for t in score.get(name) or {}}
    paths["oks_ap"] = ("oks", "ap")
    found = {name: look_up(score, path) for name, path in paths.items()}
    return {name: value for name, value in found.items() if value is not None}


def mean_pose(
    joints: Float[np.ndarray, "n k 2"], labelled: Bool[np.ndarray, "n k"]
) -> Float[np.ndarray, "k 2"]:
    """The mean of each joint over the images that label it: a prediction that ignores the image.

    In the frame of `joints`, normally DeepPose's N(y; b). NaN for a joint that no image labels.
    """
    known = np.asarray(labelled, bool)[..., None]  # [n, k, 1]
    return divide(np.where(known, np.asarray(joints, np.float64), 0).sum(0), known.sum(0))


def _check(pred: np.ndarray, true: np.ndarray, labelled: np.ndarray, skeleton: Skeleton) -> None:
    shapes = {name: np.shape(x) for name, x in (("pred", pred), ("true", true))}
    k = skeleton.num_joints
    for name, shape in shapes.items():
        if len(shape) != 3 or shape[1:] != (k, 2):
            raise ValueError(f"{name} must be [n, {k}, 2] for this skeleton, not {shape}")
    if shapes["pred"] != shapes["true"] or np.shape(labelled) != shapes["true"][:2]:
        raise ValueError(f"{shapes} and labelled {np.shape(labelled)} differ in their images")
    if np.asarray(labelled).dtype != bool:
        raise ValueError(f"labelled must be bool, not {np.asarray(labelled).dtype}")


def _ends(joints: np.ndarray, skeleton: Skeleton) -> tuple[np.ndarray, np.ndarray]:
    joints = np.asarray(joints, np.float64)
    start = [joints[:, list(stick.start)].mean(1) for stick in skeleton.sticks]
    stop = [joints[:, list(stick.stop)].mean(1) for stick in skeleton.sticks]
    return np.stack(start, 1), np.stack(stop, 1)  # [n, sticks, 2]


def _segment(skeleton: Skeleton, name: str) -> tuple[int, int]:
    """The ends of the skeleton's "torso" or "head"."""
    ends = getattr(skeleton, name)
    if ends is None:
        raise ValueError(f"skeleton: has no {name} to measure in lengths of")
    return ends


def _within(
    pred: np.ndarray,
    true: np.ndarray,
    labelled: np.ndarray,
    segment: tuple[int, int],
    threshold: float,
) -> Hits:
    counted = _with_segment(labelled, segment)
    within = joint_errors(pred, true) <= threshold * _lengths(true, segment)
    return within & counted, counted


def _lengths(true: np.ndarray, segment: tuple[int, int]) -> np.ndarray:
    a, b = segment
    return joint_errors(true[:, [a]], true[:, [b]])  # [n, 1]


def _with_segment(labelled: np.ndarray, segment: tuple[int, int]) -> np.ndarray:
    labelled = np.asarray(labelled)
    return labelled & labelled[:, list(segment)].all(1, keepdims=True)  # [n, k]


def _rates(values: np.ndarray, counted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Percent of each column's evaluated entries, NaN without any: [n, m] twice, [r, n] -> [r, m]."""
    hits, count = weights @ values.astype(np.float64), weights @ counted.astype(np.float64)
    return divide(hits, count) * 100


def _mean(rates: np.ndarray) -> np.ndarray:
    """Mean of the values that are not NaN over the last axis, NaN without any: [r, m] -> [r]."""
    known = ~np.isnan(rates)
    return divide(np.where(known, rates, 0).sum(-1), known.sum(-1))


def _pcp_means(sticks: np.ndarray, skeleton: Skeleton) -> dict[str, np.ndarray]:
    names = [stick.part for stick in skeleton.sticks]
    order = [part for group in skeleton.part_groups.values() for part in group]
    parts = {
        part: _mean(sticks[:, [name == part for name in names]])
        for part in dict.fromkeys(order + names)
    }
    sticks_means = {g: _mean(sticks[:, list(i)]) for g, i in skeleton.stick_groups.items()}
    parts_means = {
        group: _mean(np.stack([parts[part] for part in members], -1))
        for group, members in skeleton.part_groups.items()
    }
    return {**parts, **sticks_means, **parts_means}


def _joint_means(joints: np.ndarray, skeleton: Skeleton) -> dict[str, np.ndarray]:
    groups = {name: _mean(joints[:, list(i)]) for name, i in skeleton.joint_groups.items()}
    return {**groups, "total": _mean(joints)}
