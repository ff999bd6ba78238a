import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from anomaly_jax import curves, metrics
from anomaly_jax.groups import count_groups

GRID = {"0.1": 0.1, "0.15": 0.15, "0.2": 0.2, "0.3": 0.3}


def images(n=8, good=3, side=16, seed=0, levels=50, blob=5):
    """Maps whose scores have ties, masks of a few blobs, image scores, defects."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((n, side, side), bool)
    for i in range(good, n):
        for _ in range(rng.integers(1, 4)):
            y, x, h, w = [*rng.integers(0, side - blob, 2), *rng.integers(1, blob + 1, 2)]
            masks[i, y : y + h, x : x + w] = True
    maps = rng.random(masks.shape) + 0.4 * masks * rng.random((n, 1, 1))
    maps = (np.round(maps * levels) / levels / 2).astype(np.float32)
    defects = ["good"] * good + [("crack", "hole")[i % 2] for i in range(n - good)]
    return maps, masks, maps.mean((1, 2)), defects


def score(maps, masks, image_scores, defects, *thresholds, has_mask=None, **settings):
    counted = list(thresholds[0].values()) if thresholds else []
    grouped = count_groups(
        maps, masks, image_scores, defects, thresholds=counted, has_mask=has_mask
    )
    return metrics.score(grouped, *thresholds, **settings)


def best_f1_of_sklearn(masks, maps):
    precision, recall, _ = precision_recall_curve(masks, maps)
    return max(2 * p * r / (p + r) if p + r else 0 for p, r in zip(precision, recall, strict=True))


def flood_fill(mask):
    """Faulty regions, 8-connected, as sets of pixels."""
    left, regions = set(map(tuple, np.argwhere(mask))), []
    while left:
        region, edge = set(), {left.pop()}
        while edge:
            y, x = edge.pop()
            region.add((y, x))
            near = {(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= near
            edge |= near
        regions.append(region)
    return regions


def slow_aupro(maps, masks, limit):
    """Straight from the definition: every threshold, every region."""
    regions = [(i, tuple(zip(*r, strict=True))) for i, m in enumerate(masks) for r in flood_fill(m)]
    rates, overlaps = [0.0], [0.0]
    for threshold in np.unique(maps)[::-1]:
        predicted = maps >= threshold
        rates.append((predicted & ~masks).sum() / (~masks).sum())
        overlaps.append(np.mean([predicted[i][region].mean() for i, region in regions]))
    area = 0.0
    for k in range(1, len(rates)):
        (x0, x1), (y0, y1) = rates[k - 1 : k + 1], overlaps[k - 1 : k + 1]
        if x1 > limit:
            y1 = y0 + (y1 - y0) * (limit - x0) / (x1 - x0)
            return (area + (limit - x0) * (y0 + y1) / 2) / limit
        area += (x1 - x0) * (y0 + y1) / 2
    return area / limit


def leaves(tree):
    if isinstance(tree, dict):
        for value in tree.values():
            yield from leaves(value)
    else:
        yield tree


few_scores = hnp.arrays(np.float32, (2, 4, 5), elements=st.integers(0, 8).map(lambda k: k / 8))
any_scores = hnp.arrays(np.float32, (2, 4, 5), elements=st.floats(-1e3, 1e3, width=32))
any_masks = hnp.arrays(bool, (2, 4, 5)).filter(lambda m: m.any() and not m.all())


@settings(deadline=None)
@given(few_scores | any_scores, any_masks)
def test_rankings_equal_scikit_learn_with_ties_and_without(maps, masks):
    counts = curves.count_at_thresholds(maps, masks)
    truth, scores = masks.ravel(), maps.ravel()
    assert curves.auroc(counts) == pytest.approx(roc_auc_score(truth, scores), abs=1e-9)
    expected = average_precision_score(truth, scores)
    assert curves.average_precision(counts) == pytest.approx(expected, abs=1e-9)
    f1, threshold = curves.best_f1(counts)
    assert f1 == pytest.approx(best_f1_of_sklearn(truth, scores), abs=1e-9)
    rates = metrics.accuracies(maps, masks, [threshold])
    assert rates["f1"][0] == pytest.approx(f1, abs=1e-12)


def test_rankings_of_many_pixels_equal_scikit_learn():
    maps, masks, *_ = images(30, 10, 64, levels=1e6, blob=24)
    counts = curves.count_at_thresholds(maps, masks)
    truth, scores = masks.ravel(), maps.ravel()
    assert curves.auroc(counts) == pytest.approx(roc_auc_score(truth, scores), abs=1e-9)
    expected = average_precision_score(truth, scores)
    assert curves.average_precision(counts) == pytest.approx(expected, abs=1e-9)
    assert curves.best_f1(counts)[0] == pytest.approx(best_f1_of_sklearn(truth, scores), abs=1e-9)


@settings(deadline=None)
@given(few_scores | any_scores, any_masks, st.sampled_from([0.05, 0.3, 1]))
def test_aupro_equals_its_definition_and_is_never_above_one(maps, masks, limit):
    counts = curves.count_at_thresholds(maps, masks, curves.region_weights(masks))
    assert curves.aupro(counts, limit) == pytest.approx(slow_aupro(maps, masks, limit), abs=1e-6)
    assert 0 <= curves.aupro(counts, limit) <= 1
    perfect = curves.count_at_thresholds(
        masks.astype(np.float32), masks, curves.region_weights(masks)
    )
    assert curves.aupro(perfect, limit) == pytest.approx(1, abs=1e-12)
    assert curves.aupro(perfect, limit) <= 1


@pytest.mark.parametrize("seed", range(3))
def test_aupro_of_blobs_equals_its_definition(seed):
    maps, masks, *_ = images(6, 2, 24, seed)
    counts = curves.count_at_thresholds(maps, masks, curves.region_weights(masks))
    assert curves.aupro(counts) == pytest.approx(slow_aupro(maps, masks, 0.3), abs=1e-6)


def test_aupro_by_hand():
    # A region of four pixels found at once, one of a single pixel found after 2 of 15 good ones.
    masks, maps = np.zeros((1, 4, 5), bool), np.zeros((1, 4, 5))
    masks[0, :2, :2] = masks[0, 3, 4] = True
    maps[0, :2, :2], maps[0, 3, 4], maps[0, 0, 3:] = 3, 1, 2
    counts = curves.count_at_thresholds(maps, masks, curves.region_weights(masks))
    assert curves.aupro(counts) == pytest.approx((0.5 * 2 / 15 + 1 * (0.3 - 2 / 15)) / 0.3)
    x, y = curves.pro_curve(counts)
    corners = {(0, 0), (0, 0.5), (round(2 / 15, 6), 0.5), (round(2 / 15, 6), 1), (1, 1)}
    assert set(zip(x.round(6).tolist(), y.round(6).tolist(), strict=True)) == corners


def test_regions_are_connected_through_corners_but_not_through_images():
    masks = np.zeros((2, 3, 4), bool)
    masks[0, 0, 0] = masks[0, 1, 1] = masks[0, 2, 3] = masks[1, 2, 3] = True
    weights = curves.region_weights(masks)
    assert weights[0, 0, 0] == weights[0, 1, 1] == 0.5
    assert weights[0, 2, 3] == weights[1, 2, 3] == 1
    assert weights.sum() == 3
    assert not curves.region_weights(np.zeros((2, 3, 4), bool)).any()


def test_rounding_takes_no_perfect_score_above_one():
    rng = np.random.default_rng(0)
    for n in range(2, 200):
        masks = np.arange(2 * n).reshape(1, 2, n) < n
        maps = rng.random((1, 2, n)) + masks
        counts = curves.count_at_thresholds(maps, masks)
        assert 1 - 1e-12 < curves.average_precision(counts) <= 1
        counts = curves.counts_by_image(
            maps, masks, curves.region_weights(masks), np.linspace(1, 0, 30)
        )
        assert 1 - 1e-12 < curves.aupro(counts)[0] <= 1


def test_constant_scores_are_worth_a_coin():
    masks = np.arange(20).reshape(1, 4, 5) < 5
    counts = curves.count_at_thresholds(
        np.full((1, 4, 5), 0.5), masks, curves.region_weights(masks)
    )
    assert curves.auroc(counts) == 0.5
    assert curves.aupro(counts) == pytest.approx(0.15)
    assert curves.average_precision(counts) == 0.25
    assert curves.best_f1(counts) == (pytest.approx(0.4), 0.5)


def test_curves_start_and_end_where_they_should():
    maps, masks, *_ = images()
    counts = curves.count_at_thresholds(maps, masks, curves.region_weights(masks))
    for x, y in (curves.roc_curve(counts), curves.pro_curve(counts)):
        assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
        assert (np.diff(x) >= 0).all()
        assert (np.diff(y) >= 0).all()
    recall, precision = curves.precision_recall_curve(counts)
    assert (recall[0], precision[0], recall[-1]) == (0, 1, 1)
    assert precision[-1] == masks.mean()


def test_a_thin_table_keeps_the_areas():
    maps, masks, *_ = images(30, 10, 64, levels=1e6, blob=24)
    exact = curves.count_at_thresholds(maps, masks, curves.region_weights(masks))
    thin = curves.thinned(exact, 1000)
    assert len(exact.thresholds) > 4000 > 2002 >= len(thin.thresholds)
    for area in (
        curves.auroc,
        curves.aupro,
        curves.average_precision,
        lambda t: curves.best_f1(t)[0],
    ):
        assert area(thin) == pytest.approx(area(exact), abs=1e-3)


def test_the_three_accuracies_by_hand():
    masks = np.array([[[1, 1, 0, 0]], [[1, 0, 0, 0]]], bool)
    maps = np.array([[[0.3, 0.1, 0.2, 0]], [[0.05, 0, 0, 0]]], np.float32)
    pooled = metrics.accuracies(maps, masks, [0.1, 0.15])
    np.testing.assert_allclose(pooled["recall"], [2 / 3, 1 / 3])
    np.testing.assert_allclose(pooled["precision"], [2 / 3, 1 / 2])
    np.testing.assert_allclose(pooled["accuracy"], [6 / 8, 5 / 8])
    np.testing.assert_allclose(pooled["f1"], [2 / 3, 2 / 5])
    np.testing.assert_allclose(pooled["false_positive_rate"], [1 / 5, 1 / 5])
    # A float32 score of 0.7 is a little less than 0.7, and reaches it.
    assert metrics.accuracies(np.full_like(maps, 0.7), masks, [0.7])["recall"] == 1
    single = metrics.accuracies(maps, masks, [0.1, 0.15], per_image=True)
    np.testing.assert_allclose(single["recall"], [[1, 1 / 2], [0, 0]])
    np.testing.assert_allclose(single["precision"], [[2 / 3, 1 / 2], [np.nan, np.nan]])
    np.testing.assert_allclose(single["accuracy"], [[3 / 4, 2 / 4], [3 / 4, 3 / 4]])


def test_score_equals_its_parts_in_all_and_per_defect():
    maps, masks, scores, defects = images()
    result = score(maps, masks, scores, defects, GRID, {"half": 0.25}, resamples=0)
    chosen = {None: np.arange(8), "crack": np.array([0, 1, 2, 3, 5, 7])}
    for defect, i in chosen.items():
        part = result if defect is None else result["defects"][defect]
        truth, pixels, faulty = masks[i].ravel(), maps[i].ravel(), i >= 3
        assert part["pixel_auroc"] == pytest.approx(roc_auc_score(truth, pixels), abs=1e-9)
        assert part["ap"] == pytest.approx(average_precision_score(truth, pixels), abs=1e-9)
        assert part["aupro"] == pytest.approx(slow_aupro(maps[i], masks[i], 0.3), abs=1e-6)
        assert part["image_auroc"] == pytest.approx(roc_auc_score(faulty, scores[i]), abs=1e-9)
        predicted = maps[i] >= np.float32(0.15)
        counts, hit = part["0.15"], (predicted & masks[i]).sum
        assert counts["threshold"] == 0.15
        assert counts["recall"] == pytest.approx(hit() / masks[i].sum())
        assert counts["precision"] == pytest.approx(hit() / predicted.sum())
        assert counts["accuracy"] == pytest.approx((predicted == masks[i]).mean())
        recalls = hit((1, 2))[faulty] / masks[i].sum((1, 2))[faulty]
        assert counts["per_image"]["recall"] == pytest.approx(recalls.mean())
        precisions = (hit((1, 2)) / predicted.sum((1, 2)))[faulty]
        assert counts["per_image"]["precision"] == pytest.approx(precisions.mean())
        found = scores[i] >= 0.25
        assert part["image_level"]["half"]["recall"] == pytest.approx(found[faulty].mean())
        false_alarms = part["image_level"]["half"]["false_positive_rate"]
        assert false_alarms == pytest.approx(found[~faulty].mean())
        counts = [part[k] for k in ("images", "good_images", "pixel_images")]
        assert counts == [len(i), 3, len(i)]
    assert list(result["defects"]) == ["crack", "hole"]


@pytest.mark.parametrize(
    ("chosen", "none", "some"),
    [
        ([0, 1, 2], ["pixel_auroc", "aupro", "ap", "image_auroc", "image_ap"], []),
        ([3, 4, 5, 6, 7], ["image_auroc", "image_ap"], ["pixel_auroc", "aupro", "ap"]),
        ([0], ["pixel_auroc", "aupro", "image_auroc"], []),
        ([3], ["image_auroc"], ["pixel_auroc", "aupro"]),
        ([], ["pixel_auroc", "aupro", "ap", "image_auroc", "image_ap"], []),
    ],
    ids=["no fault", "no good image", "one good image", "one faulty image", "no image"],
)
def test_what_cannot_be_measured_is_none(chosen, none, some):
    maps, masks, scores, defects = images()
    defects = [defects[i] for i in chosen]
    arrays = [x[chosen] if chosen else x[:0] for x in (maps, masks, scores)]
    result = score(*arrays, defects, GRID, {"half": 0.25}, resamples=20)
    json.dumps(result, allow_nan=False)
    assert all(result[key] is None for key in none)
    assert all(0 <= result[key] <= 1 for key in some)
    if chosen == [0, 1, 2]:
        assert result["0.1"]["recall"] is None
        assert result["0.1"]["precision"] == 0
        assert result["0.1"]["accuracy"] == pytest.approx((maps[:3] < np.float32(0.1)).mean())
        assert result["pixel_oracle"] == {"threshold": None, "f1": None}


def test_constant_scores_give_defined_results():
    maps, masks, _, defects = images()
    scores = np.full(8, 0.3)
    result = score(np.full_like(maps, 0.2), masks, scores, defects, GRID, resamples=20)
    json.dumps(result, allow_nan=False)
    assert result["pixel_auroc"] == result["image_auroc"] == 0.5
    assert result["aupro"] == pytest.approx(0.15)
    assert result["intervals"]["pixel_auroc"] == [0.5, 0.5]
    assert result["0.3"]["precision"] is None


def test_a_defect_without_masks_takes_part_in_image_scores_only():
    maps, masks, scores, defects = images()
    has_mask = np.array([defect == "hole" for defect in defects])
    masks[[defect == "crack" for defect in defects]] = False
    result = score(maps, masks, scores, defects, GRID, {}, has_mask=has_mask, resamples=20)
    crack, hole = result["defects"]["crack"], result["defects"]["hole"]
    assert crack["pixel_images"] == 0
    assert crack["pixel_auroc"] is crack["aupro"] is crack["0.1"]["accuracy"] is None
    assert crack["image_auroc"] is not None
    for key in ("pixel_auroc", "aupro", "ap", "0.1"):
        assert result[key] == hole[key]
    assert result["image_auroc"] == pytest.approx(
        roc_auc_score([d != "good" for d in defects], scores)
    )
    with_masks = score(maps, masks, scores, defects, GRID, {}, resamples=0)
    assert with_masks["pixel_auroc"] != result["pixel_auroc"]


def test_intervals_equal_a_slow_loop_over_resampled_images():
    maps, masks, scores, defects = images(7, 3)
    named, has_mask = ({"0.3": 0.3}, {"half": 0.25}), np.arange(7) != 3
    arrays = maps, masks, scores, defects
    result = score(*arrays, *named, has_mask=has_mask, resamples=30, seed=3)
    loop = []
    for draw in np.random.default_rng(3).multinomial(7, np.full(7, 1 / 7), 30):
        i = np.repeat(np.arange(7), draw)
        arrays = maps[i], masks[i], scores[i], [defects[k] for k in i]
        loop.append(score(*arrays, *named, has_mask=has_mask[i], resamples=0))

    def compare(found, values):
        if isinstance(found, dict):
            for key in found:
                compare(found[key], [v[key] for v in values])
            return
        known = [v for v in values if v is not None]
        np.testing.assert_allclose(found, np.percentile(known, [2.5, 97.5]), atol=1e-9)

    compare(result["intervals"], loop)
    low, high = result["intervals"]["aupro"]
    assert low < result["aupro"] < high


def test_intervals_of_many_pixels_are_those_of_exact_resamples_to_a_thousandth():
    maps, masks, scores, defects = images(10, 3, 64, levels=1e6, blob=24)
    result = score(maps, masks, scores, defects, {}, resamples=40, seed=1)
    assert len(curves.count_at_thresholds(maps, masks).thresholds) > metrics.BINS
    loop = []
    for draw in np.random.default_rng(1).multinomial(10, np.full(10, 0.1), 40):
        i = np.repeat(np.arange(10), draw)
        loop.append(curves.count_at_thresholds(maps[i], masks[i], curves.region_weights(masks[i])))
    for key, area in (
        ("pixel_auroc", curves.auroc),
        ("aupro", curves.aupro),
        ("ap", curves.average_precision),
    ):
        expected = np.percentile([area(counts) for counts in loop], [2.5, 97.5])
        np.testing.assert_allclose(result["intervals"][key], expected, atol=1e-3)


def test_same_seed_same_intervals():
    arrays = *images(), GRID
    assert score(*arrays, seed=1, resamples=50) == score(*arrays, seed=1, resamples=50)
    assert score(*arrays, seed=1, resamples=50) != score(*arrays, seed=2, resamples=50)
    assert "intervals" not in score(*arrays, resamples=0)


@settings(deadline=None)
@given(few_scores, any_masks, st.integers(0, 2))
def test_no_result_is_nan_or_out_of_range(maps, masks, good):
    masks[:good] = False
    defects = ["good"] * good + ["crack"] * (2 - good)
    result = score(maps, masks, maps.max((1, 2)), defects, GRID, GRID, resamples=5)
    json.dumps(result, allow_nan=False)
    counts = {result[key] for key in ("images", "good_images", "pixel_images")} | {0, 1, 2}
    for leaf in leaves(result):
        for value in leaf if isinstance(leaf, list) else [leaf]:
            assert value is None or value in counts or 0 <= value <= 1


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a, m, s, d: (a[:, 0], m[:, 0], s, d), r"anomaly_maps must be \[h, w\] each"),
        (lambda a, m, s, d: (a, m[:, :3], s, d), "masks must be bool and as large"),
        (lambda a, m, s, d: (a, m.astype(float), s, d), "masks must be bool"),
        (lambda a, m, s, d: (a, m, s[:3], d), "8, 3, 8 and 8 images"),
        (lambda a, m, s, d: (a, m, s, d[:3]), "8, 8, 3 and 3 images"),
        (lambda a, m, s, d: (a * np.nan, m, s, d), "256 of 256 scores are not finite"),
        (lambda a, m, s, d: (a, m, s, ["good"] * 8), "whose defect is 'good' has faulty pixels"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        score(*change(*images()), GRID)


def test_thresholds_and_limits_out_of_range_are_refused():
    with pytest.raises(ValueError, match="thresholds must be finite"):
        score(*images(), {"all": -np.inf})
    with pytest.raises(ValueError, match="limit: 0; accepted"):
        score(*images(), GRID, limit=0)
    with pytest.raises(ValueError, match="region weights"):
        curves.aupro(curves.count_at_thresholds(*images()[:2]))
