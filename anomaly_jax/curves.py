"""Curves over all thresholds and the areas under them: ROC, precision-recall, per-region overlap.

Plain NumPy on the host. Every curve is computed from `ThresholdCounts`: the numbers of good and of faulty pixels that
score at least each threshold. A pixel is predicted faulty where its score is at least the threshold; thresholds are
compared in the scores' own type. Single images are pixels of maps of one pixel: [n, 1, 1].

The counts are exact with two thresholds for each distinct score of a faulty pixel: the score itself and the next larger
number. Between these only the count of good pixels changes, so that all curves are straight lines there; equal scores
are counted together. Good pixels, usually the great majority, only need to be sorted. The counts of single images at
common thresholds add up to those of all the images, which makes resampling images a matrix product.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage

from engine_jax.statistics import divide

FALSE_POSITIVE_LIMIT = 0.3
# Eight neighbours in the image, none in the images before and after.
NEIGHBOURS = np.stack([np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))])


class PerImage(Protocol):
    """An array [h, w] of each of n images, which may be of different sizes: a list, an array [n, h, w], or made one by
    one when they are asked for.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, i: int, /) -> Any: ...


@dataclass(frozen=True)
class ThresholdCounts:
    """How many pixels score at least each threshold.

    Attributes:
        thresholds: [t], descending for a curve. The last one is -inf, so that its counts are those of all pixels.
        good: [..., t] number of good pixels.
        faulty: [..., t] number of faulty pixels.
        regions: [..., t] sum over the faulty regions of the share of the region's pixels; None without region weights.
    """

    thresholds: Float[np.ndarray, " t"]
    good: Int[np.ndarray, "*b t"] | Float[np.ndarray, "*b t"]
    faulty: Int[np.ndarray, "*b t"] | Float[np.ndarray, "*b t"]
    regions: Float[np.ndarray, "*b t"] | None = None

    def each(self, function: Callable[[np.ndarray], np.ndarray]) -> "ThresholdCounts":
        """A function of the counts of good and of faulty pixels and of the regions' sums, at the same thresholds."""
        regions = None if self.regions is None else function(self.regions)
        return replace(
            self, good=function(self.good), faulty=function(self.faulty), regions=regions
        )


def finite_scores(name: str, scores: np.ndarray) -> Float[np.ndarray, "..."]:
    """Scores as float32 if they are float32, otherwise as float64.

    Raises:
        ValueError: a score is not finite.
    """
    scores = np.asarray(scores)
    scores = scores if scores.dtype in (np.float32, np.float64) else scores.astype(np.float64)
    if bad := scores.size - np.isfinite(scores).sum():
        raise ValueError(f"{name}: {bad} of {scores.size} scores are not finite")
    return scores


def region_weights(masks: Bool[np.ndarray, "n h w"]) -> Float[np.ndarray, "n h w"]:
    """1 / size of the faulty region that each pixel belongs to, 0 in good pixels.

    Regions are connected through sides and corners (8-connectivity), within one image.
    """
    labels = np.empty(masks.shape, np.int32)
    ndimage.label(masks, NEIGHBOURS, output=labels)
    weights = 1 / np.bincount(labels.ravel(), minlength=1).clip(1)
    weights[0] = 0  # Label 0 is the background.
    return weights[labels]


def count_image(
    scores: Float[np.ndarray, "h w"],
    mask: Bool[np.ndarray, "h w"],
    thresholds: Float[np.ndarray, " t"],
) -> ThresholdCounts:
    """The counts of one image at given thresholds, with region weights."""
    return _count(scores, mask, region_weights(mask[None])[0], thresholds)


def count_at_thresholds(
    scores: Float[np.ndarray, "n h w"],
    masks: Bool[np.ndarray, "n h w"],
    weights: Float[np.ndarray, "n h w"] | None = None,
) -> ThresholdCounts:
    """The exact counts over all images together, at two thresholds for each distinct score of a faulty pixel.

    Args:
        scores: finite anomaly scores.
        masks: which pixels are faulty.
        weights: of `region_weights`; only the per-region overlap needs them.
    """
    found = np.unique(scores[masks])
    thresholds = np.unique(np.concatenate([found, np.nextafter(found, np.inf, dtype=found.dtype)]))
    lowest = scores.dtype.type(-np.inf)
    return _count(scores, masks, weights, np.append(thresholds[::-1], lowest))


def counts_by_image(
    scores: Float[np.ndarray, "n h w"],
    masks: Bool[np.ndarray, "n h w"],
    weights: Float[np.ndarray, "n h w"] | None,
    thresholds: Float[np.ndarray, " t"],
) -> ThresholdCounts:
    """The counts of each image, [n, t], at given thresholds, to which -inf is appended if it isn't the last one."""
    thresholds = np.asarray(thresholds, scores.dtype)  # A float32 score of 0.7 is at least 0.7.
    if not thresholds.size or thresholds[-1] != -np.inf:
        thresholds = np.append(thresholds, scores.dtype.type(-np.inf))
    if weights is None and scores.shape[1:] == (1, 1):  # Single images: there may be a thousand.
        found = scores[:, 0] >= thresholds
        good = found & ~masks[:, 0]
        return ThresholdCounts(thresholds, good.astype(np.int64), (found & ~good).astype(np.int64))
    rows = weights if weights is not None else [None] * len(scores)
    images = [_count(s, m, w, thresholds) for s, m, w in zip(scores, masks, rows, strict=True)]

    def stack(counts: list) -> np.ndarray:
        return np.array(counts).reshape(len(images), len(thresholds))

    good, faulty = stack([i.good for i in images]), stack([i.faulty for i in images])
    regions = None if weights is None else stack([i.regions for i in images])
    return ThresholdCounts(thresholds, good, faulty, regions)


def at_thresholds(counts: ThresholdCounts, thresholds: Float[np.ndarray, " t"]) -> ThresholdCounts:
    """The counts at some of their thresholds, descending or not, and at -inf, which is appended if it isn't the last.

    Raises:
        ValueError: there are no counts at one of the thresholds.
    """
    wanted = np.asarray(thresholds, counts.thresholds.dtype)
    if not wanted.size or wanted[-1] != -np.inf:
        wanted = np.append(wanted, wanted.dtype.type(-np.inf))
    at = np.searchsorted(-counts.thresholds, -wanted).clip(max=len(counts.thresholds) - 1)
    if missing := wanted[counts.thresholds[at] != wanted].tolist():
        raise ValueError(f"pixels weren't counted at the thresholds {missing}")
    return replace(counts.each(lambda count: count[..., at]), thresholds=wanted)


def of_images(by_image: ThresholdCounts, chosen: Bool[np.ndarray, " n"]) -> ThresholdCounts:
    """The counts of some of the images."""
    return by_image.each(lambda count: count[chosen])


def pooled(by_image: ThresholdCounts, repeats: Float[np.ndarray, "*r n"]) -> ThresholdCounts:
    """The counts [*r, t] over sets of images in which image i occurs `repeats[..., i]` times."""
    return by_image.each(lambda count: repeats @ count)


def thinned(exact: ThresholdCounts, points: int = 1000) -> ThresholdCounts:
    """The counts at no more than 2 `points` + 2 of the thresholds, for a plot or for many resamples.

    The thresholds are spread evenly over the good and over the faulty pixels: between two neighbours lies at most
    1 / (points - 1) of either, or one step of the exact counts. Counts at few thresholds are returned unchanged.
    """
    if len(exact.thresholds) <= points:
        return exact
    steps = np.linspace(0, 1, points)
    shares = [c / c[-1] for c in (exact.good, exact.faulty) if c[-1] > 0]
    kept = [np.searchsorted(share, steps) for share in shares]
    kept = np.unique(np.concatenate([*kept, [0, len(exact.thresholds) - 1]]))
    return replace(exact.each(lambda count: count[kept]), thresholds=exact.thresholds[kept])


def roc_curve(
    counts: ThresholdCounts,
) -> tuple[Float[np.ndarray, "*b p"], Float[np.ndarray, "*b p"]]:
    """False and true positive rate, from (0, 0) to (1, 1), p = t + 1. NaN without good or faulty pixels."""
    return _from_zero(_share(counts.good)), _from_zero(_share(counts.faulty))


def pro_curve(
    counts: ThresholdCounts,
) -> tuple[Float[np.ndarray, "*b p"], Float[np.ndarray, "*b p"]]:
    """False positive rate and per-region overlap: the mean over the faulty regions of the share that is found.

    Bergmann et al., "Uninformed Students", CVPR 2020, and "The MVTec Anomaly Detection Dataset", IJCV 2021. The false
    positive rate is over the good pixels of all images.
    """
    if counts.regions is None:
        raise ValueError("the per-region overlap needs counts made with region weights")
    return _from_zero(_share(counts.good)), _from_zero(_share(counts.regions))


def precision_recall_curve(
    counts: ThresholdCounts,
) -> tuple[Float[np.ndarray, "*b p"], Float[np.ndarray, "*b p"]]:
    """Recall and precision, from (0, 1). Precision is 1 where nothing is predicted; recall is NaN without faults."""
    precision = divide(counts.faulty, counts.good + counts.faulty, otherwise=1)
    first = np.ones_like(precision[..., :1])
    return _from_zero(_share(counts.faulty)), np.concatenate([first, precision], -1)


def auroc(counts: ThresholdCounts) -> Float[np.ndarray, "*b"]:
    """Area under the ROC curve; NaN without good or faulty pixels."""
    return _area(*roc_curve(counts), limit=1)


def aupro(counts: ThresholdCounts, limit: float = FALSE_POSITIVE_LIMIT) -> Float[np.ndarray, "*b"]:
    """Area under the per-region overlap for false positive rates of 0 .. limit, divided by the limit.

    The curve is interpolated linearly at the limit. 1 is perfect and the maximum. NaN without good pixels or faulty
    regions.
    """
    if not 0 < limit <= 1:
        raise ValueError(f"limit: {limit}; accepted: above 0, up to 1")
    return _area(*pro_curve(counts), limit=limit)


def average_precision(counts: ThresholdCounts) -> Float[np.ndarray, "*b"]:
    """Sum over thresholds of precision times the gain in recall; NaN without good or faulty pixels.

    As in scikit-learn, the area under steps rather than under straight lines.
    """
    recall, precision = precision_recall_curve(counts)
    total = (np.diff(recall, axis=-1) * precision[..., 1:]).sum(-1)
    total = np.minimum(total, 1)  # Rounding may lift a perfect score above 1.
    return np.where(counts.good[..., -1] > 0, total, np.nan)


def best_f1(counts: ThresholdCounts) -> tuple[Float[np.ndarray, "*b"], Float[np.ndarray, "*b"]]:
    """Largest F1 = 2 hits / (predicted + faulty) over the thresholds, and the highest threshold that gives it.

    NaN without good or faulty pixels.
    """
    predicted = counts.good + counts.faulty
    f1 = divide(2 * counts.faulty, predicted + counts.faulty[..., -1:])
    known = (counts.good[..., -1] > 0) & (counts.faulty[..., -1] > 0)
    best = np.argmax(np.where(known[..., None], f1, 0), -1)
    value = np.take_along_axis(f1, best[..., None], -1)[..., 0]
    return np.where(known, value, np.nan), np.where(known, counts.thresholds[best], np.nan)


def _count(
    scores: np.ndarray, masks: np.ndarray, weights: np.ndarray | None, thresholds: np.ndarray
) -> ThresholdCounts:
    good, faulty = np.sort(scores[~masks]), scores[masks]
    order = np.argsort(faulty)
    below = np.searchsorted(faulty[order], thresholds)
    regions = None
    if weights is not None:
        summed = np.concatenate([[0], np.cumsum(weights[masks][order])])
        regions = summed[-1] - summed[below]
    return ThresholdCounts(
        thresholds, good.size - np.searchsorted(good, thresholds), faulty.size - below, regions
    )


def _share(count: np.ndarray) -> np.ndarray:
    return divide(count, count[..., -1:])


def _from_zero(rates: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros_like(rates[..., :1]), rates], -1)


def _area(x: np.ndarray, y: np.ndarray, limit: float) -> np.ndarray:
    """Mean height over x in 0 .. limit of the straight lines through points of ascending x, at most 1."""
    start, stop = x[..., :-1], np.minimum(x[..., 1:], limit)
    inside = np.maximum(stop - start, 0)
    slope = divide(np.diff(y, axis=-1), np.diff(x, axis=-1), otherwise=0)
    area = (inside * (y[..., :-1] + slope * inside / 2)).sum(-1)
    return np.minimum(area / limit, 1)  # Rounding may lift a perfect score above 1.
