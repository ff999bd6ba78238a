"""Thresholds from held-out good images, and what they promise about new ones.

A pixel or image is predicted faulty where its score is at least the threshold. Thresholds are Python floats that the
scores' type represents exactly, so that writing them to JSON changes no decision.

Of n good images that were not trained on, and a new one like them, each is equally likely to have the k-th largest
score. The new one's is above the k-th largest of the n with a probability of k / (n + 1), on average over all such n
images (split conformal prediction: Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005). For the
n images at hand the probability is a draw from Beta(k, n + 1 - k) (Vovk, "Conditional validity of inductive conformal
predictors", ACML 2012).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import betaincinv

from anomaly_jax.curves import PerImage, finite_scores
from engine_jax.statistics import INTERVAL

GOOD_ONLY = "good_only"  # the name of the thresholds from good images, in results.json


@dataclass(frozen=True)
class Thresholds:
    """A threshold for the scores of pixels and one for the scores of images; None where there is none."""

    pixel: float | None
    image: float | None


@dataclass(frozen=True)
class Promise:
    """How many new good images are taken for faulty, by a threshold from n held-out good images.

    Attributes:
        images: n.
        wanted: the rate that was asked for.
        rate: the promised rate, on average over all draws of n images: at most the wanted one, unless n is too small
            for it; then 1 / (n + 1), the lowest that n images can promise.
        band: the 95 % interval of the rate, given these n images.
    """

    images: int
    wanted: float
    rate: float
    band: tuple[float, float]

    @property
    def kept(self) -> bool:
        """Whether there are enough images for the wanted rate."""
        return self.rate <= self.wanted

    @property
    def images_needed(self) -> int | None:
        """How many images the wanted rate takes; None where no number is enough."""
        return int(np.ceil(1 / self.wanted - 1 - 1e-9)) if self.wanted else None


def from_good(
    anomaly_maps: PerImage,
    image_scores: Float[np.ndarray, " n"],
    pixel_share: float,
    image_rate: float,
) -> tuple[Thresholds, Promise]:
    """Thresholds from good images that were not trained on; no fault is needed.

    Both thresholds keep the same promise: of new good images a share of `image_rate` reaches the images' threshold, and
    in as many more than `pixel_share` of the pixels reach the pixels' threshold. Images are counted, not pixels, since
    the pixels of one image are alike: a thousand of one image say less about new images than one of each of a thousand.

    Args:
        anomaly_maps: of the n held-out good images.
        image_scores: of the same images.
        pixel_share: the share of an image's pixels that may reach the threshold, in 0 .. 1.
        image_rate: the share of new good images that may be taken for faulty, in 0 .. 1.

    Raises:
        ValueError: there are no images, a score is not finite, or a rate is not within 0 .. 1.
    """
    image, found = image_threshold(image_scores, image_rate)
    if len(anomaly_maps) != found.images:
        raise ValueError(f"{len(anomaly_maps)} maps and {found.images} scores of images")
    tolerated = np.array(
        [lowest_threshold(anomaly_maps[i], pixel_share) for i in range(found.images)]
    )
    rank, _ = _rank(found.images, image_rate)
    return Thresholds(float(_largest(tolerated, rank)), image), found


def image_threshold(good: Float[np.ndarray, " n"], rate: float) -> tuple[float, Promise]:
    """The images' threshold of `from_good`."""
    good = finite_scores("good scores", good)
    rank, found = _rank(len(good), rate)
    return float(np.nextafter(_largest(good, rank), np.inf, dtype=good.dtype)), found


def lowest_threshold(good: Float[np.ndarray, "..."], share: float) -> float:
    """The lowest threshold that at most a share of the scores reach; of equal scores all or none do.

    Of n scores a share below 1 / n is none, for which the threshold is just above the largest score.

    Raises:
        ValueError: there are no scores, one is not finite, or the share is not within 0 .. 1.
    """
    _check_rate("share", share)
    good = finite_scores("good scores", good).ravel()
    if not good.size:
        raise ValueError("a threshold from good scores needs at least one of them")
    allowed = int(share * good.size + 1e-9)  # 0.29 * 100 is 28.999...
    if allowed == good.size:
        return float(good.min())
    return float(np.nextafter(_largest(good, allowed + 1), np.inf, dtype=good.dtype))


def promise(images: int, rate: float) -> Promise:
    """What a threshold at the rank of a rate promises; see the module.

    Raises:
        ValueError: there are no images, or the rate is not within 0 .. 1.
    """
    return _rank(images, rate)[1]


def _rank(images: int, rate: float) -> tuple[int, Promise]:
    """The rank k, counted from 1, of the largest scores, above which a new image's is taken for faulty."""
    _check_rate("rate", rate)
    if images < 1:
        raise ValueError("a threshold from good scores needs at least one of them")
    rank = min(max(int(rate * (images + 1) + 1e-9), 1), images)
    # Quantiles of the beta distribution.
    low, high = betaincinv(rank, images + 1 - rank, np.divide(INTERVAL, 100))
    return rank, Promise(images, rate, rank / (images + 1), (float(low), float(high)))


def _largest(scores: np.ndarray, rank: int) -> np.floating:
    """The score of a rank; 1 is the largest."""
    return np.partition(scores, len(scores) - rank)[len(scores) - rank]


def _check_rate(name: str, rate: float) -> None:
    if not 0 <= rate <= 1:
        raise ValueError(f"{name}: {rate}; accepted: 0 .. 1")
