"""Thresholds from held-out good images.

A pixel or image is predicted faulty where its score is at least the threshold. Thresholds are Python
floats that the scores' type represents exactly, so that writing them to JSON changes no decision.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from anomaly_jax.curves import finite_scores

GOOD_ONLY = "good_only"  # the name of the thresholds from good images, in results.json


@dataclass(frozen=True)
class Thresholds:
    """A threshold for the scores of pixels and one for the scores of images; None where there is none."""

    pixel: float | None
    image: float | None


def from_good(
    anomaly_maps: Float[np.ndarray, "n h w"],
    image_scores: Float[np.ndarray, " n"],
    pixel_rate: float,
    image_rate: float,
) -> Thresholds:
    """Thresholds at target false positive rates, from good images that were not trained on; no fault is needed.

    Args:
        anomaly_maps: of the held-out good images, whose pixels are pooled.
        image_scores: of the same images.
        pixel_rate: the share of good pixels that may be predicted faulty, in 0 .. 1.
        image_rate: likewise of good images.

    Raises:
        ValueError: there are no images, a score is not finite, or a rate is not within 0 .. 1.
    """
    pixel = from_false_positive_rate(anomaly_maps, pixel_rate)
    return Thresholds(pixel, from_false_positive_rate(image_scores, image_rate))


def from_false_positive_rate(good: Float[np.ndarray, "..."], rate: float) -> float:
    """The lowest threshold that at most a share of `rate` of the good scores reach; of equal scores all or none do.

    n scores can't distinguish rates below 1 / n from 0, for which the threshold is just above the largest score.

    Raises:
        ValueError: there are no scores, one is not finite, or the rate is not within 0 .. 1.
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"rate: {rate}; accepted: 0 .. 1")
    good = finite_scores("good scores", good).ravel()
    if not good.size:
        raise ValueError("a threshold from good scores needs at least one of them")
    allowed = int(rate * good.size + 1e-9)  # 0.29 * 100 is 28.999...
    if allowed == good.size:
        return float(good.min())
    highest_below = np.partition(good, good.size - allowed - 1)[good.size - allowed - 1]
    return float(np.nextafter(highest_below, np.inf, dtype=good.dtype))
