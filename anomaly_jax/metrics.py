"""Every score of a test set, with bootstrap intervals: of anomaly maps, image scores and decisions.

Plain NumPy in float64 on the host. All rates and areas are fractions in [0, 1]. A pixel or image is
predicted faulty where its score is at least the threshold. What is undefined is None: recall without
a fault, precision without a predicted pixel, and every ranking without both good and faulty scores.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from anomaly_jax import curves
from anomaly_jax.curves import FALSE_POSITIVE_LIMIT, ThresholdCounts
from anomaly_jax.groups import Group, GroupedScores
from engine_jax.statistics import (
    bootstrap_weights,
    divide,
    map_leaves,
    number,
    percentile_interval,
)

_BLOCK = 64  # resamples whose curves are computed at once: a processor's cache holds them

BINS = 1000  # points of curves.thinned for the resampled curves


def accuracies(
    anomaly_maps: Float[np.ndarray, "n h w"],
    masks: Bool[np.ndarray, "n h w"],
    thresholds: Sequence[float],
    *,
    per_image: bool = False,
) -> dict[str, np.ndarray]:
    """Recall, precision and accuracy at each threshold: with f = faulty and p = predicted pixels, |f & p| / |f|,
    |f & p| / |p| and the share of all pixels in which f equals p.

    Returns:
        `recall`, `precision`, `accuracy`, `f1` (the harmonic mean of the first two) and `false_positive_rate`: arrays
        [t] over the pixels of all images together, or [n, t] of each image. NaN where the denominator is 0.

    Raises:
        ValueError: the arrays' shapes or types do not fit, or a value is not finite.
    """
    maps, masks = curves.finite_scores("anomaly_maps", anomaly_maps), np.asarray(masks)
    if masks.dtype != bool or masks.ndim != 3 or masks.shape != maps.shape:
        raise ValueError(
            f"maps and masks must be [n, h, w], the masks bool, not {maps.shape} and {masks.dtype} {masks.shape}"
        )
    by_image = curves.counts_by_image(maps, masks, None, _finite(thresholds))
    return _rates(by_image if per_image else curves.pooled(by_image, np.ones(len(maps))))


def score(
    test: GroupedScores,
    thresholds: Mapping[str, float],
    image_thresholds: Mapping[str, float] | None = None,
    *,
    limit: float = FALSE_POSITIVE_LIMIT,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Every score of a test set, over all images and by defect, as fractions in [0, 1], ready for JSON.

    Args:
        test: the test set's scores, see `groups.count_groups`.
        thresholds: of pixels, by their names in the results, such as "0.1"; those that `test` was counted at.
        image_thresholds: of image scores, likewise.
        limit: of the false positive rate, for AUPRO.
        resamples: number of bootstrap resamples of the images, for 95 % intervals (percentile bootstrap, Efron 1979).
            0 leaves the intervals out. Where there are many pixels, rankings treat those of nearby scores as equal, see
            `levels.Levels`; in intervals these are at most 1 / 999 of the good and of the faulty pixels each.
        seed: of the resamples.

    Returns:
        For all images, then under `defects` for the good images and each defect:
        `images`, `good_images`, `pixel_images`: the numbers of images, of good ones, and of those that count at pixel
        level (0 if no faulty one has a mask).
        `pixel_auroc`, `aupro`, `ap` (of pixels), `pixel_oracle`: the best F1 and its threshold, chosen on these very
        images: a bound, not a result. `image_auroc`, `image_ap`, `image_oracle`: likewise of images.
        Each name of `thresholds`: `threshold`, `recall`, `precision`, `accuracy`, `f1`, `false_positive_rate` over all
        pixels together, and `per_image`: means over the faulty images of each one's rates, where these are defined.
        `image_level`: the same by each name of `image_thresholds`, without `per_image`.
        `intervals`: all scores and rates again, with [low, high] instead of each number.

    Raises:
        ValueError: a threshold is not finite or wasn't counted at, or the limit is out of its range.
    """

    def group_score(group: Group) -> dict[str, Any]:
        images, labelled = group.images, group.labelled
        n, faulty = int(images.sum()), test.faulty[images]
        draws = bootstrap_weights(n, resamples, seed)
        by_image = curves.counts_by_image(test.scores[images], faulty, None, group.image.thresholds)
        known = {} if image_thresholds is None else image_thresholds
        exact = curves.counts_by_image(test.scores[images], faulty, None, _finite(known.values()))
        image = _level(group.image, by_image, exact, known, draws, limit)
        pixels = curves.of_images(test.pixel, labelled)
        fixed = curves.at_thresholds(pixels, _finite(thresholds.values()))
        pixel = _level(group.pixel, pixels, fixed, thresholds, draws[:, labelled[images]], limit)
        result = {
            "images": n,
            "good_images": n - int(faulty.sum()),
            "pixel_images": int(labelled.sum()),
            **_arrange(map_leaves(number, pixel[0]), map_leaves(number, image[0])),
        }
        if resamples:
            ends = (map_leaves(percentile_interval, level[1]) for level in (pixel, image))
            result["intervals"] = _arrange(*ends)
        return result

    by_defect = {name: group_score(group) for name, group in test.defects.items()}
    return {**group_score(test.all), "defects": by_defect}


def _level(
    pooled: ThresholdCounts,
    by_image: ThresholdCounts,
    fixed: ThresholdCounts,
    thresholds: Mapping[str, float],
    draws: Float[np.ndarray, "r n"],
    limit: float,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Scores of pixels, or of images as maps of one pixel: their values, and those of each resample.

    Args:
        pooled: the counts over all of the images.
        by_image: the same of each image; without regions for single images.
        fixed: likewise at the `thresholds`.
        thresholds: by name.
        draws: how often each image occurs in each resample.
    """

    def summary(counts: ThresholdCounts, repeats: Float[np.ndarray, "*r n"]) -> dict[str, Any]:
        rates = _by_name(_rates(curves.pooled(fixed, repeats)), thresholds)
        f1, threshold = _in_blocks(curves.best_f1, counts)
        result = {
            "auroc": _in_blocks(curves.auroc, counts),
            "ap": _in_blocks(curves.average_precision, counts),
            "oracle": {"threshold": threshold, "f1": f1},
            "at": rates,
        }
        if by_image.regions is not None:
            result["aupro"] = _in_blocks(partial(curves.aupro, limit=limit), counts)
            means = _by_name(_image_means(fixed, repeats), thresholds)
            result["at"] = {t: {**rates[t], "per_image": means[t]} for t in thresholds}
        return result

    values = summary(pooled, np.ones(len(by_image.good)))
    for name, threshold in thresholds.items():
        values["at"][name] = {"threshold": np.float64(threshold), **values["at"][name]}
    if not len(draws):
        return values, {}
    few = curves.at_thresholds(by_image, curves.thinned(pooled, BINS).thresholds)
    return values, summary(curves.pooled(few, draws), draws)


def _in_blocks(function: Callable[[ThresholdCounts], Any], counts: ThresholdCounts) -> Any:
    """A function of counts [t], or of counts [r, t] block by block; its result is an array [..., r]."""
    if counts.good.ndim == 1:
        return function(counts)
    starts = range(0, len(counts.good), _BLOCK)
    blocks = [
        counts.each(lambda count, start=start: count[start : start + _BLOCK]) for start in starts
    ]
    return np.concatenate([np.asarray(function(block)) for block in blocks], axis=-1)


def _arrange(pixel: dict[str, Any], image: dict[str, Any]) -> dict[str, Any]:
    return {
        "pixel_auroc": pixel["auroc"],
        "aupro": pixel["aupro"],
        "ap": pixel["ap"],
        "pixel_oracle": pixel["oracle"],
        "image_auroc": image["auroc"],
        "image_ap": image["ap"],
        "image_oracle": image["oracle"],
        **pixel["at"],
        "image_level": image["at"],
    }


def _rates(fixed: ThresholdCounts) -> dict[str, np.ndarray]:
    """Rates [..., t - 1] at all thresholds but the last, -inf; NaN where the denominator is 0."""
    hit, false_alarm = fixed.faulty[..., :-1], fixed.good[..., :-1]
    faulty, good = fixed.faulty[..., -1:], fixed.good[..., -1:]
    predicted = hit + false_alarm
    return {
        "recall": divide(hit, faulty),
        "precision": divide(hit, predicted),
        "accuracy": divide(hit + good - false_alarm, good + faulty),
        "f1": divide(2 * hit, predicted + faulty),
        "false_positive_rate": divide(false_alarm, good),
    }


def _image_means(
    by_image: ThresholdCounts, repeats: Float[np.ndarray, "*r n"]
) -> dict[str, np.ndarray]:
    """Means [*r, t - 1] of each rate over the faulty images in which it is defined."""
    faulty = by_image.faulty[:, -1:] > 0
    means = {}
    for name, rates in _rates(by_image).items():
        known = faulty & ~np.isnan(rates)
        means[name] = divide(repeats @ np.where(known, rates, 0), repeats @ known)
    return means


def _by_name(
    rates: dict[str, np.ndarray], thresholds: Mapping[str, float]
) -> dict[str, dict[str, np.ndarray]]:
    return {t: {rate: rates[rate][..., i] for rate in rates} for i, t in enumerate(thresholds)}


def _finite(thresholds: Iterable[float]) -> Float[np.ndarray, " t"]:
    values = np.array([*thresholds], np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"thresholds must be finite numbers, not {values.tolist()}")
    return values
