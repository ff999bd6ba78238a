"""Where good ends and faulty begins: a grid, thresholds from held-out good images, and the oracle.

A pixel or image is predicted faulty where its score is at least the threshold. Thresholds are Python
floats that the scores' type represents exactly, so that they mean the same after a trip through JSON.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from anomaly_jax import curves

GRID = (0.1, 0.15, 0.2, 0.3)
Rule = Literal["percentile", "false_positive_rate"]


@dataclass(frozen=True)
class Thresholds:
    """A threshold for each pixel's score and one for each image's; None where there is none."""

    pixel: float | None
    image: float | None


def from_percentile(good: Float[np.ndarray, "..."], percentile: float) -> float:
    """The score below which about `percentile` % of the good scores lie, interpolated between neighbours.

    Raises:
        ValueError: there are no scores, one is not finite, or the percentile is not within 0 .. 100.
    """
    if not 0 <= percentile <= 100:
        raise ValueError(f"percentile: {percentile}; accepted: 0 .. 100")
    return float(np.percentile(_checked(good), percentile))


def from_false_positive_rate(good: Float[np.ndarray, "..."], rate: float) -> float:
    """The lowest threshold that at most `rate` of the good scores reach, with ties on the safe side.

    From n scores, no rate between 0 and 1 / n can be told from 0, where the threshold lies just above the largest.

    Raises:
        ValueError: there are no scores, one is not finite, or the rate is not within 0 .. 1.
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"rate: {rate}; accepted: 0 .. 1")
    good = _checked(good).ravel()
    allowed = int(rate * good.size + 1e-9)  # 0.29 * 100 is 28.999...
    if allowed == good.size:
        return float(good.min())
    highest_below = np.partition(good, good.size - allowed - 1)[good.size - allowed - 1]
    return float(np.nextafter(highest_below, np.inf, dtype=good.dtype))


def from_good(
    anomaly_maps: Float[np.ndarray, "n h w"],
    image_scores: Float[np.ndarray, " n"],
    rule: Rule,
    pixel: float,
    image: float,
) -> Thresholds:
    """Thresholds from good images that were held out of training; no fault is needed.

    Args:
        anomaly_maps: of the held-out good images; the pixels of all of them count together.
        image_scores: of the same images.
        rule: `pixel` and `image` are percentiles of the good scores in 0 .. 100, see `from_percentile`, or target
            false positive rates in 0 .. 1, see `from_false_positive_rate`.
    """
    rules = {"percentile": from_percentile, "false_positive_rate": from_false_positive_rate}
    if rule not in rules:
        raise ValueError(f"rule: {rule!r}; accepted: {', '.join(rules)}")
    return Thresholds(rules[rule](anomaly_maps, pixel), rules[rule](image_scores, image))


def oracle(
    anomaly_maps: Float[np.ndarray, "n h w"],
    masks: Bool[np.ndarray, "n h w"],
    image_scores: Float[np.ndarray, " m"],
    faulty: Bool[np.ndarray, " m"],
) -> Thresholds:
    """The thresholds of best F1, chosen on the very images that are tested: a bound, not a result.

    Args:
        anomaly_maps: of test images that have a mask, or are good.
        masks: which of their pixels are faulty.
        image_scores: of all test images.
        faulty: which of these are faulty.

    Returns:
        None for a level without a good or without a faulty score.
    """
    maps = _checked(anomaly_maps, empty=True)
    images = _checked(image_scores, empty=True)[:, None, None]
    found = [
        curves.best_f1(curves.reached(maps, masks))[1],
        curves.best_f1(curves.reached(images, np.asarray(faulty, bool)[:, None, None]))[1],
    ]
    return Thresholds(*(None if np.isnan(t) else float(t) for t in found))


def _checked(scores: np.ndarray, *, empty: bool = False) -> np.ndarray:
    scores = np.asarray(scores)
    scores = scores if scores.dtype in (np.float32, np.float64) else scores.astype(np.float64)
    if not scores.size and not empty:
        raise ValueError("a threshold from good scores needs at least one of them")
    if bad := scores.size - np.isfinite(scores).sum():
        raise ValueError(f"{bad} of {scores.size} scores are not finite")
    return scores
