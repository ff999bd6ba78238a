"""Scores at the images' own size, in bounded memory."""

import numpy as np
import pytest
from PIL import Image

from anomaly_jax import curves, metrics
from anomaly_jax.data import fit_mask
from anomaly_jax.data.masks import Masks, PackedMask
from anomaly_jax.framing import Framing, resize_map
from anomaly_jax.groups import count_groups
from anomaly_jax.levels import LEVELS, Levels
from anomaly_jax.whole_images import OwnSizeMaps


def test_masks_come_back_as_they_were():
    rng = np.random.default_rng(0)
    masks = [
        rng.random(shape) < share for shape, share in (((5, 7), 0.3), ((3, 11), 0), ((1, 1), 1))
    ]
    packed = Masks(map(PackedMask.of, masks))
    assert len(packed) == 3
    for found, mask in zip(packed, masks, strict=True):
        assert found.dtype == bool
        np.testing.assert_array_equal(found, mask)


def test_maps_are_resized_as_in_prediction():
    small = np.random.default_rng(0).random((2, 8, 8)).astype(np.float32)
    maps = OwnSizeMaps(small, np.array([[20, 12], [8, 8]], np.int32), Framing(8))
    np.testing.assert_array_equal(maps[0], resize_map(small[0], (20, 12)))
    np.testing.assert_array_equal(maps[1], small[1])
    assert len(maps) == 2


def scratched():
    """A mask of 1024 px with a scratch 3 px wide beside a blob."""
    mask = np.zeros((1024, 1024), bool)
    for x in range(150, 900):
        y = 400 + round(0.3 * x)
        mask[y : y + 3, x] = True
    mask[100:260, 500:700] = True
    return mask


def test_a_thin_scratch_counts_as_one_region_at_its_own_size():
    """In a mask that is shrunk to the network's size it vanishes beside a blob; here half of the overlap is its own."""
    mask = scratched()
    assert not fit_mask(mask, 128)[45:].any()
    found = Image.fromarray(mask.astype(np.float32)).resize((128, 128), Image.Resampling.BOX)
    maps = OwnSizeMaps(
        np.stack([np.asarray(found), np.zeros((128, 128), np.float32)]),
        np.full((2, 2), 1024),
        Framing(128),
    )
    blob_only = maps[0] * (np.arange(1024)[:, None] < 300)
    results = []
    for first in (maps[0], blob_only):
        grouped = count_groups(
            [first, maps[1]], [mask, np.zeros_like(mask)], np.array([1.0, 0.0]), ["scratch", "good"]
        )
        results.append(metrics.score(grouped, {}, resamples=0)["aupro"])
    # A scratch that isn't found at all costs half of the overlap, but for what chance gives it up to the limit.
    assert results[0] > 0.97
    assert results[1] == pytest.approx(0.5 + 0.5 * 0.15, abs=0.02)


def smooth_scores(count, side, seed=0):
    """Maps of many different scores, masks with faults of two kinds, one much rarer than the other."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, side, side), bool)
    for i in range(2, count):
        reach = side // 3 if i % 2 else side // 16
        y, x = rng.integers(0, side - reach, 2)
        masks[i, y : y + reach, x : x + reach] = True
    maps = (rng.gamma(0.5, 1, masks.shape) + 2 * masks * rng.random((count, 1, 1))).astype(
        np.float32
    )
    return maps, masks, ["good", "good", *(("rare", "common")[i % 2] for i in range(2, count))]


def test_many_pixels_are_counted_at_few_levels_and_score_as_if_all_were():
    maps, masks, defects = smooth_scores(8, 256)
    grouped = count_groups(maps, masks, maps.max((1, 2)), defects, thresholds=(0.25, 1.5))
    assert grouped.pixel.thresholds.size < 6 * LEVELS + 3 < np.unique(maps[masks]).size
    given = metrics.score(grouped, {"low": 0.25, "high": 1.5}, resamples=0)
    for name, group in {"all": grouped.all, **grouped.defects}.items():
        chosen = group.images
        exact = curves.count_at_thresholds(
            maps[chosen], masks[chosen], curves.region_weights(masks[chosen])
        )
        for area in (
            curves.auroc,
            curves.aupro,
            curves.average_precision,
            lambda counts: curves.best_f1(counts)[0],
        ):
            assert area(group.pixel) == pytest.approx(area(exact), abs=3e-4), name
    # Thresholds that are asked for are exact.
    for name, threshold in (("low", 0.25), ("high", 1.5)):
        predicted = maps >= np.float32(threshold)
        assert given[name]["recall"] == (predicted & masks).sum() / masks.sum()
        assert given[name]["accuracy"] == (predicted == masks).mean()


def test_levels_are_spread_as_evenly_as_promised():
    rng = np.random.default_rng(0)
    images = [rng.normal(i, 1 + i, (100, 100 + 50 * i)).astype(np.float32) for i in range(4)]
    levels = Levels()
    for scores in images:
        levels.add(scores, np.ones(scores.shape, bool), "all")
    thresholds = levels.thresholds(np.zeros(0, np.float32))
    assert thresholds.size <= 2 * LEVELS
    everything = np.sort(np.concatenate([scores.ravel() for scores in images]))
    below = np.searchsorted(everything, thresholds[::-1])
    assert np.diff(below).max() <= 2 / (LEVELS - 1) * everything.size + len(images)
    assert (below[0], below[-1]) == (0, everything.size)


def test_thresholds_that_were_not_counted_at_are_refused():
    maps, masks, defects = smooth_scores(4, 16)
    grouped = count_groups(maps, masks, maps.max((1, 2)), defects)
    with pytest.raises(ValueError, match=r"weren't counted at the thresholds \[0.25\]"):
        metrics.score(grouped, {"low": 0.25}, resamples=0)
