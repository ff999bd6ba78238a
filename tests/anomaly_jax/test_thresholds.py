import json

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from anomaly_jax import thresholds
from anomaly_jax.thresholds import Thresholds

scores = hnp.arrays(np.float32, st.integers(1, 40), elements=st.floats(-10, 10, width=32)) | (
    hnp.arrays(np.float32, st.integers(1, 40), elements=st.sampled_from([0, 0.1, 0.5]))
)


def test_the_grid_is_the_report_s():
    assert thresholds.GRID == (0.1, 0.15, 0.2, 0.3)


@settings(deadline=None)
@given(scores, st.floats(0, 1))
def test_a_target_false_positive_rate_is_kept_and_its_threshold_is_the_lowest(good, rate):
    threshold = thresholds.from_false_positive_rate(good, rate)
    assert (good >= threshold).mean() <= rate + 1e-9
    lower = float(np.nextafter(np.float32(threshold), np.float32(-np.inf)))
    assert (good >= lower).mean() > rate or threshold == good.min()


def test_false_positive_rates_by_hand():
    good = np.arange(20, dtype=np.float32)
    assert (good >= thresholds.from_false_positive_rate(good, 0.05)).sum() == 1
    assert (good >= thresholds.from_false_positive_rate(good, 0.3)).sum() == 6
    assert (good >= thresholds.from_false_positive_rate(good, 0.049)).sum() == 0
    assert thresholds.from_false_positive_rate(good, 0) == np.nextafter(np.float32(19), np.inf)
    assert thresholds.from_false_positive_rate(good, 1) == 0
    assert (np.arange(100) >= thresholds.from_false_positive_rate(np.arange(100), 0.29)).sum() == 29


def test_tied_scores_are_left_on_the_good_side():
    good = np.array([0, 1, 1, 1], np.float32)
    assert (good >= thresholds.from_false_positive_rate(good, 0.5)).sum() == 0
    assert (good >= thresholds.from_false_positive_rate(good, 0.75)).sum() == 3


def test_percentiles_by_hand():
    good = np.array([[4, 0], [2, 1], [3, 5]], np.float32)
    assert thresholds.from_percentile(good, 0) == 0
    assert thresholds.from_percentile(good, 60) == 3
    assert thresholds.from_percentile(good, 90) == 4.5
    assert thresholds.from_percentile(good, 100) == 5


@settings(deadline=None)
@given(scores, st.floats(0, 1))
def test_decisions_are_the_same_after_json_and_on_the_device(good, rate):
    for threshold in (
        thresholds.from_false_positive_rate(good, rate),
        thresholds.from_percentile(good, 100 * rate),
    ):
        assert type(threshold) is float
        again = json.loads(json.dumps(threshold))
        expected = good >= np.float32(threshold)
        assert np.float32(threshold) == threshold
        np.testing.assert_array_equal(good >= again, expected)


def test_decisions_on_the_device_agree():
    good = np.random.default_rng(0).random(1000, np.float32)
    threshold = thresholds.from_false_positive_rate(good, 0.1)
    assert int((jnp.asarray(good) >= threshold).sum()) == (good >= threshold).sum() == 100


def test_from_good_takes_all_pixels_and_all_images():
    rng = np.random.default_rng(0)
    maps = rng.random((10, 8, 8), np.float32)
    image = maps.max((1, 2))
    found = thresholds.from_good(maps, image, "false_positive_rate", 0.05, 0.2)
    assert (maps >= found.pixel).sum() == 32
    assert (image >= found.image).sum() == 2
    found = thresholds.from_good(maps, image, "percentile", 99, 50)
    assert found.pixel == np.float32(np.percentile(maps, 99))
    assert found.image == np.median(image)
    with pytest.raises(ValueError, match="rule: 'best'; accepted: percentile, false_positive_rate"):
        thresholds.from_good(maps, image, "best", 1, 1)  # type: ignore[arg-type]


def test_the_oracle_is_the_best_of_all_thresholds():
    rng = np.random.default_rng(0)
    masks = rng.random((4, 6, 6)) < 0.3
    maps = np.round(rng.random((4, 6, 6)) + 0.3 * masks, 1).astype(np.float32)
    image, faulty = np.array([0.1, 0.5, 0.4, 0.6, 0.7]), np.array([0, 0, 1, 1, 1], bool)
    found = thresholds.oracle(maps, masks, image, faulty)

    def f1(threshold):
        predicted = maps >= threshold
        return 2 * (predicted & masks).sum() / (predicted.sum() + masks.sum())

    assert f1(found.pixel) == max(f1(t) for t in np.unique(maps))
    assert found.image == 0.4  # Three hits and one false alarm: 6 / 7; at 0.6: 4 / 5.


def test_no_oracle_without_good_and_faulty():
    maps, image = np.ones((2, 3, 3), np.float32), np.ones(2)
    nothing, all_faulty = np.zeros((2, 3, 3), bool), np.ones(2, bool)
    assert thresholds.oracle(maps, nothing, image, all_faulty) == Thresholds(None, None)
    empty = thresholds.oracle(maps[:0], nothing[:0], image[:0], all_faulty[:0])
    assert empty == Thresholds(None, None)


@pytest.mark.parametrize("find", [thresholds.from_percentile, thresholds.from_false_positive_rate])
def test_bad_scores_and_rates_are_refused(find):
    with pytest.raises(ValueError, match="at least one"):
        find(np.zeros(0), 0.5)
    with pytest.raises(ValueError, match="1 of 2 scores are not finite"):
        find(np.array([0, np.nan]), 0.5)
    for value in (-0.1, 100.1, float("nan")):
        with pytest.raises(ValueError, match="accepted: 0"):
            find(np.zeros(3), value)
