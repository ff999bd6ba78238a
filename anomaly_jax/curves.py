"""Curves over every threshold, and the areas under them: ROC, precision-recall, per-region overlap.

Plain NumPy on the host. All curves follow from one table, `Reached`: how many good and how many
faulty pixels score at least each threshold. A pixel is predicted faulty where its score is at least
the threshold; thresholds are compared in the scores' own type. Single images are pixels of maps
that are one pixel large: [n, 1, 1].

The table is exact with two thresholds around each distinct score of a faulty pixel: the score itself
and the next number above it. Between these only good pixels are passed, so that all curves are
straight lines there; equal scores are passed at once. Good pixels, normally most of all, are sorted
once and never ranked one by one. Tables of single images at common thresholds add up to the table of
these images together, which makes resampling images a matrix product.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage

FALSE_POSITIVE_LIMIT = 0.3
# Eight neighbours in the image, none in the images before and after.
NEIGHBOURS = np.stack([np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))])


@dataclass(frozen=True)
class Reached:
    """What scores at least each threshold.

    Attributes:
        thresholds: [t], descending where a curve is asked for. The last one is -inf, which everything reaches.
        good: [..., t] number of good pixels.
        faulty: [..., t] number of faulty pixels.
        regions: [..., t] sum over faulty regions of the part of the region; None where it was not asked for.
    """

    thresholds: Float[np.ndarray, " t"]
    good: Int[np.ndarray, "*b t"] | Float[np.ndarray, "*b t"]
    faulty: Int[np.ndarray, "*b t"] | Float[np.ndarray, "*b t"]
    regions: Float[np.ndarray, "*b t"] | None = None


def region_weights(masks: Bool[np.ndarray, "n h w"]) -> Float[np.ndarray, "n h w"]:
    """1 / size of the faulty region that each pixel belongs to, 0 in good pixels.

    Regions are connected through sides and corners (8-connectivity), within one image.
    """
    labels = np.empty(masks.shape, np.int32)
    ndimage.label(masks, NEIGHBOURS, output=labels)
    weights = 1 / np.bincount(labels.ravel(), minlength=1).clip(1)
    weights[0] = 0  # Label 0 is what is not faulty.
    return weights[labels]


def reached(
    scores: Float[np.ndarray, "n h w"],
    masks: Bool[np.ndarray, "n h w"],
    weights: Float[np.ndarray, "n h w"] | None = None,
) -> Reached:
    """The exact table of all images together.

    Args:
        scores: finite anomaly scores.
        masks: which pixels are faulty.
        weights: of `region_weights`; needed for the per-region overlap only.
    """
    found = np.unique(scores[masks])
    thresholds = np.unique(np.concatenate([found, np.nextafter(found, np.inf, dtype=found.dtype)]))
    lowest = scores.dtype.type(-np.inf)
    return _count(scores, masks, weights, np.append(thresholds[::-1], lowest))


def reached_by_image(
    scores: Float[np.ndarray, "n h w"],
    masks: Bool[np.ndarray, "n h w"],
    weights: Float[np.ndarray, "n h w"] | None,
    thresholds: Float[np.ndarray, " t"],
) -> Reached:
    """The table of each image, [n, t], at given thresholds, with -inf added as the last where it is missing."""
    thresholds = np.asarray(thresholds, scores.dtype)  # 0.7 is reached by a float32 score of 0.7.
    if not thresholds.size or thresholds[-1] != -np.inf:
        thresholds = np.append(thresholds, scores.dtype.type(-np.inf))
    rows = weights if weights is not None else [None] * len(scores)
    images = [_count(s, m, w, thresholds) for s, m, w in zip(scores, masks, rows, strict=True)]

    def stack(counts: list) -> np.ndarray:
        return np.array(counts).reshape(len(images), len(thresholds))

    good, faulty = stack([i.good for i in images]), stack([i.faulty for i in images])
    regions = None if weights is None else stack([i.regions for i in images])
    return Reached(thresholds, good, faulty, regions)


def add_up(by_image: Reached, times: Float[np.ndarray, "*r n"]) -> Reached:
    """The tables of sets of images, [*r, t], in which each image occurs so many times."""
    regions = None if by_image.regions is None else times @ by_image.regions
    return Reached(by_image.thresholds, times @ by_image.good, times @ by_image.faulty, regions)


def thin(exact: Reached, points: int = 1000) -> Reached:
    """At most 2 `points` + 2 of a table's thresholds, for a plot or for many resamples.

    They are spread evenly over the good and over the faulty pixels: between two neighbours lies at most
    1 / (points - 1) of either, or one step of the exact table. A table of few thresholds is returned as it is.
    """
    if len(exact.thresholds) <= points:
        return exact
    steps = np.linspace(0, 1, points)
    counts = [c / c[-1] for c in (exact.good, exact.faulty) if c[-1] > 0]
    kept = [np.searchsorted(c, steps) for c in counts]
    kept = np.unique(np.concatenate([*kept, [0, len(exact.thresholds) - 1]]))
    regions = None if exact.regions is None else exact.regions[kept]
    return Reached(exact.thresholds[kept], exact.good[kept], exact.faulty[kept], regions)


def roc_curve(table: Reached) -> tuple[Float[np.ndarray, "*b p"], Float[np.ndarray, "*b p"]]:
    """False and true positive rate, from (0, 0) to (1, 1), p = t + 1. NaN without good or faulty pixels."""
    return _from_zero(_part(table.good)), _from_zero(_part(table.faulty))


def pro_curve(table: Reached) -> tuple[Float[np.ndarray, "*b p"], Float[np.ndarray, "*b p"]]:
    """False positive rate and per-region overlap, the mean over faulty regions of the part that is found.

    Bergmann et al., "Uninformed Students", CVPR 2020, and "The MVTec Anomaly Detection Dataset", IJCV 2021. False
    positives are counted over the good pixels of all images.
    """
    if table.regions is None:
        raise ValueError(
            "the per-region overlap needs a table that was counted with region weights"
        )
    return _from_zero(_part(table.good)), _from_zero(_part(table.regions))


def precision_recall_curve(
    table: Reached,
) -> tuple[Float[np.ndarray, "*b p"], Float[np.ndarray, "*b p"]]:
    """Recall and precision, from (0, 1). Precision is 1 where nothing is predicted; recall is NaN without faults."""
    predicted = table.good + table.faulty
    precision = _divide(table.faulty, predicted, otherwise=1)
    first = np.ones_like(precision[..., :1])
    return _from_zero(_part(table.faulty)), np.concatenate([first, precision], -1)


def auroc(table: Reached) -> Float[np.ndarray, "*b"]:
    """Area under the ROC curve; NaN without good or faulty pixels."""
    return _area(*roc_curve(table), limit=1)


def aupro(table: Reached, limit: float = FALSE_POSITIVE_LIMIT) -> Float[np.ndarray, "*b"]:
    """Area under the per-region overlap for false positive rates of 0 .. limit, divided by the limit.

    The curve is cut off at the limit, on the straight line between the points to both sides of it. 1 is perfect and
    never exceeded. NaN without good pixels or faulty regions.
    """
    if not 0 < limit <= 1:
        raise ValueError(f"limit: {limit}; accepted: above 0, up to 1")
    return _area(*pro_curve(table), limit=limit)


def average_precision(table: Reached) -> Float[np.ndarray, "*b"]:
    """Sum over thresholds of precision times the gain in recall; NaN without good or faulty pixels.

    A staircase, as in scikit-learn, not trapezoids.
    """
    recall, precision = precision_recall_curve(table)
    total = (np.diff(recall, axis=-1) * precision[..., 1:]).sum(-1)
    total = np.minimum(total, 1)  # Rounding of a perfect one.
    return np.where(table.good[..., -1] > 0, total, np.nan)


def best_f1(table: Reached) -> tuple[Float[np.ndarray, "*b"], Float[np.ndarray, "*b"]]:
    """Largest F1 = 2 hits / (predicted + faulty) over the thresholds, and the highest threshold that gives it.

    NaN without good or faulty pixels.
    """
    predicted = table.good + table.faulty
    f1 = _divide(2 * table.faulty, predicted + table.faulty[..., -1:], otherwise=np.nan)
    known = (table.good[..., -1] > 0) & (table.faulty[..., -1] > 0)
    best = np.argmax(np.where(known[..., None], f1, 0), -1)
    value = np.take_along_axis(f1, best[..., None], -1)[..., 0]
    return np.where(known, value, np.nan), np.where(known, table.thresholds[best], np.nan)


def _count(
    scores: np.ndarray, masks: np.ndarray, weights: np.ndarray | None, thresholds: np.ndarray
) -> Reached:
    good, faulty = np.sort(scores[~masks]), scores[masks]
    order = np.argsort(faulty)
    below = np.searchsorted(faulty[order], thresholds)
    regions = None
    if weights is not None:
        summed = np.concatenate([[0], np.cumsum(weights[masks][order])])
        regions = summed[-1] - summed[below]
    return Reached(
        thresholds, good.size - np.searchsorted(good, thresholds), faulty.size - below, regions
    )


def _divide(a: np.ndarray, b: np.ndarray, otherwise: float) -> np.ndarray:
    shape = np.broadcast_shapes(np.shape(a), np.shape(b))
    return np.divide(a, b, out=np.full(shape, float(otherwise)), where=np.asarray(b) > 0)


def _part(count: np.ndarray) -> np.ndarray:
    return _divide(count, count[..., -1:], otherwise=np.nan)


def _from_zero(rates: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros_like(rates[..., :1]), rates], -1)


def _area(x: np.ndarray, y: np.ndarray, limit: float) -> np.ndarray:
    """Mean height over x in 0 .. limit of straight lines through points whose x does not fall, at most 1."""
    start, stop = x[..., :-1], np.minimum(x[..., 1:], limit)
    inside = np.maximum(stop - start, 0)
    slope = _divide(np.diff(y, axis=-1), np.diff(x, axis=-1), otherwise=0)
    area = (inside * (y[..., :-1] + slope * inside / 2)).sum(-1)
    return np.minimum(area / limit, 1)  # Rounding of a perfect one.
