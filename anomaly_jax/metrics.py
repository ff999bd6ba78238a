"""How good anomaly maps, image scores and decisions are: every score of a test set, with intervals.

Plain NumPy in float64 on the host. All rates and areas are fractions in [0, 1]. A pixel or image is
predicted faulty where its score is at least the threshold. What can't be measured is None: recall
without a fault, precision where nothing is predicted, and everything that ranks good against faulty
where one of the two is missing.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from anomaly_jax import curves
from anomaly_jax.curves import FALSE_POSITIVE_LIMIT, Reached
from anomaly_jax.data.image_set import GOOD

INTERVAL = (2.5, 97.5)  # percentiles: 95 % intervals.
BINS = 1000  # thresholds that intervals look at, see curves.thin.


def accuracies(
    anomaly_maps: Float[np.ndarray, "n h w"],
    masks: Bool[np.ndarray, "n h w"],
    thresholds: Sequence[float],
    *,
    per_image: bool = False,
) -> dict[str, np.ndarray]:
    """Recall, precision and accuracy at each threshold: with f = faulty and p = predicted pixels, |f & p| / |f|,
    |f & p| / |p| and the part of all pixels in which f equals p.

    Returns:
        `recall`, `precision`, `accuracy`, `f1` (the harmonic mean of the first two) and `false_positive_rate`: arrays
        [t] over the pixels of all images together, or [n, t] of each image. NaN where a rate is over nothing.

    Raises:
        ValueError: the arrays' shapes or types do not fit, or a value is not finite.
    """
    maps, masks = _checked("anomaly_maps", anomaly_maps), _checked_masks(masks, anomaly_maps)
    by_image = curves.reached_by_image(maps, masks, None, _finite(thresholds))
    return _rates(by_image if per_image else curves.add_up(by_image, np.ones(len(maps))))


def score(
    anomaly_maps: Float[np.ndarray, "n h w"],
    masks: Bool[np.ndarray, "n h w"],
    image_scores: Float[np.ndarray, " n"],
    defects: Sequence[str],
    thresholds: Mapping[str, float],
    image_thresholds: Mapping[str, float] | None = None,
    *,
    has_mask: Bool[np.ndarray, " n"] | None = None,
    limit: float = FALSE_POSITIVE_LIMIT,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Every score of a test set, in all and per defect, as fractions in [0, 1], ready for JSON.

    Args:
        anomaly_maps: finite pixel scores, larger where a fault is more likely.
        masks: the faulty pixels.
        image_scores: finite.
        defects: of each image, "good" for none.
        thresholds: of pixels, by the name under which the results stand, such as "0.1".
        image_thresholds: of image scores, likewise.
        has_mask: which faulty images have a mask; the others take part in image-level scores only. All by default.
        limit: of the false positive rate, for AUPRO.
        resamples: how often the images are drawn again, with replacement, for the 95 % intervals (percentile
            bootstrap, Efron 1979). 0 leaves the intervals out. Scores are exact; intervals of pixel-level rankings take
            pixels of nearby scores as equal: at most 1 / 999 of the good and of the faulty pixels each.
        seed: of these draws.

    Returns:
        Of all images, then under `defects` the same of the good images and one defect's:
        `images`, `good_images`, `pixel_images`: how many there are, are good, take part at pixel level
        (none where the faulty ones have no mask).
        `pixel_auroc`, `aupro`, `ap` (of pixels), `pixel_oracle`: the best F1 with its threshold, chosen on these very
        images. `image_auroc`, `image_ap`, `image_oracle`: likewise of images.
        Each name of `thresholds`: `threshold`, `recall`, `precision`, `accuracy`, `f1`, `false_positive_rate` over all
        pixels together, and `per_image`: means of single faulty images' rates, each over those in which it is defined.
        `image_level`: by each name of `image_thresholds` the same, without `per_image`.
        `intervals`: all scores and rates again with [low, high] in each place.

    Raises:
        ValueError: the arrays' shapes or types do not fit, a value is not finite, or a good image has faulty pixels.
    """
    maps, masks = _checked("anomaly_maps", anomaly_maps), _checked_masks(masks, anomaly_maps)
    images = _checked("image_scores", np.asarray(image_scores)[:, None, None])
    faulty = np.array([defect != GOOD for defect in defects], bool)
    known = np.ones_like(faulty) if has_mask is None else ~faulty | np.asarray(has_mask, bool)
    if not len(maps) == len(images) == len(faulty) == len(known):
        sizes = f"{len(maps)}, {len(images)}, {len(faulty)} and {len(known)}"
        raise ValueError(f"maps, image scores, defects and has_mask are of {sizes} images")
    if masks[~faulty].any():
        raise ValueError("masks: an image whose defect is 'good' has faulty pixels")
    weights = curves.region_weights(masks)

    def group(chosen: Bool[np.ndarray, " n"]) -> dict[str, Any]:
        n, rng = int(chosen.sum()), np.random.default_rng(seed)
        # All that a resample changes is how often an image counts: a row of weights.
        draws = rng.multinomial(n, np.full(n, 1 / n), resamples) if n else np.zeros((resamples, 0))
        draws = draws.astype(np.float64)
        at = chosen & known
        # Without the faulty images' masks, the good images alone would say nothing of the defect.
        if (faulty & chosen).any() and not (faulty & at).any():
            at = np.zeros_like(at)
        pixel = _level(maps[at], masks[at], weights[at], thresholds, draws[:, at[chosen]], limit)
        whole = faulty[chosen, None, None]
        image = _level(images[chosen], whole, None, image_thresholds or {}, draws, limit)
        counts = {"images": n, "good_images": n - int(whole.sum()), "pixel_images": int(at.sum())}
        result = {**counts, **_arrange(_map(_value, pixel[0]), _map(_value, image[0]))}
        if resamples:
            result["intervals"] = _arrange(_map(_interval, pixel[1]), _map(_interval, image[1]))
        return result

    names = sorted(set(defects) - {GOOD})
    per_defect = {name: group(~faulty | (np.array(defects) == name)) for name in names}
    return {**group(np.ones_like(faulty)), "defects": per_defect}


def _level(
    scores: np.ndarray,
    masks: np.ndarray,
    weights: np.ndarray | None,
    thresholds: Mapping[str, float],
    draws: Float[np.ndarray, "r n"],
    limit: float,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Scores of pixels, or of images as maps of one pixel: their values, and those of each resample."""
    exact = curves.reached(scores, masks, weights)
    fixed = curves.reached_by_image(scores, masks, None, _finite(thresholds.values()))

    def summary(ranked: Reached, times: Float[np.ndarray, "*r n"]) -> dict[str, Any]:
        f1, threshold = curves.best_f1(ranked)
        pooled = _by_name(_rates(curves.add_up(fixed, times)), thresholds)
        result = {
            "auroc": curves.auroc(ranked),
            "ap": curves.average_precision(ranked),
            "oracle": {"threshold": threshold, "f1": f1},
            "at": pooled,
        }
        if weights is not None:
            result["aupro"] = curves.aupro(ranked, limit)
            means = _by_name(_means(fixed, times), thresholds)
            result["at"] = {t: {**pooled[t], "per_image": means[t]} for t in thresholds}
        return result

    values = summary(exact, np.ones(len(scores)))
    for name, threshold in thresholds.items():
        values["at"][name] = {"threshold": np.float64(threshold), **values["at"][name]}
    if not len(draws):
        return values, {}
    binned = curves.reached_by_image(scores, masks, weights, curves.thin(exact, BINS).thresholds)
    return values, summary(curves.add_up(binned, draws), draws)


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


def _rates(fixed: Reached) -> dict[str, np.ndarray]:
    """Rates at all thresholds but the last, which everything reaches, NaN over nothing: [..., t - 1]."""
    hit, false_alarm = fixed.faulty[..., :-1], fixed.good[..., :-1]
    faulty, good = fixed.faulty[..., -1:], fixed.good[..., -1:]
    predicted = hit + false_alarm
    return {
        "recall": _divide(hit, faulty),
        "precision": _divide(hit, predicted),
        "accuracy": _divide(hit + good - false_alarm, good + faulty),
        "f1": _divide(2 * hit, predicted + faulty),
        "false_positive_rate": _divide(false_alarm, good),
    }


def _means(by_image: Reached, times: Float[np.ndarray, "*r n"]) -> dict[str, np.ndarray]:
    """Means of the rates of single faulty images, each over those in which it is defined: [*r, t - 1]."""
    faulty = by_image.faulty[:, -1:] > 0
    means = {}
    for name, rates in _rates(by_image).items():
        known = faulty & ~np.isnan(rates)
        means[name] = _divide(times @ np.where(known, rates, 0), times @ known)
    return means


def _by_name(
    rates: dict[str, np.ndarray], thresholds: Mapping[str, float]
) -> dict[str, dict[str, np.ndarray]]:
    return {t: {rate: rates[rate][..., i] for rate in rates} for i, t in enumerate(thresholds)}


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    shape = np.broadcast_shapes(a.shape, b.shape)
    return np.divide(a, b, out=np.full(shape, np.nan), where=b > 0)


def _finite(thresholds: Iterable[float]) -> Float[np.ndarray, " t"]:
    values = np.array([*thresholds], np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"thresholds must be finite numbers, not {values.tolist()}")
    return values


def _checked(name: str, scores: np.ndarray) -> np.ndarray:
    scores = np.asarray(scores)
    scores = scores if scores.dtype in (np.float32, np.float64) else scores.astype(np.float64)
    if scores.ndim != 3:
        raise ValueError(f"{name} must be [n, h, w], not {scores.shape}")
    if bad := scores.size - np.isfinite(scores).sum():
        raise ValueError(f"{name}: {bad} of {scores.size} values are not finite")
    return scores


def _checked_masks(masks: np.ndarray, maps: np.ndarray) -> np.ndarray:
    masks = np.asarray(masks)
    if masks.dtype != bool or masks.shape != np.shape(maps):
        raise ValueError(
            f"masks must be bool and as large as the maps, {np.shape(maps)}, not {masks.dtype} {masks.shape}"
        )
    return masks


def _map(leaf: Callable[[np.ndarray], Any], tree: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _map(leaf, v) if isinstance(v, Mapping) else leaf(v) for k, v in tree.items()}


def _value(rate: Any) -> float | None:
    return None if math.isnan(rate) else float(rate)


def _interval(rates: np.ndarray) -> list[float] | None:
    known = np.extract(~np.isnan(rates), rates)
    return np.percentile(known, INTERVAL).tolist() if known.size else None
