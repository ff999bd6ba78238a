import json

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from anomaly_jax import thresholds

scores = hnp.arrays(np.float32, st.integers(1, 40), elements=st.floats(-10, 10, width=32)) | (
    hnp.arrays(np.float32, st.integers(1, 40), elements=st.sampled_from([0, 0.1, 0.5]))
)


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
    hundred = np.arange(100.0)
    assert (hundred >= thresholds.from_false_positive_rate(hundred, 0.29)).sum() == 29


def test_tied_scores_are_left_on_the_good_side():
    good = np.array([0, 1, 1, 1], np.float32)
    assert (good >= thresholds.from_false_positive_rate(good, 0.5)).sum() == 0
    assert (good >= thresholds.from_false_positive_rate(good, 0.75)).sum() == 3


@settings(deadline=None)
@given(scores, st.floats(0, 1))
def test_decisions_are_the_same_after_json(good, rate):
    threshold = thresholds.from_false_positive_rate(good, rate)
    assert type(threshold) is float
    assert np.float32(threshold) == threshold
    again = json.loads(json.dumps(threshold))
    np.testing.assert_array_equal(good >= again, good >= np.float32(threshold))


def test_decisions_on_the_device_agree():
    good = np.random.default_rng(0).random(1000, np.float32)
    threshold = thresholds.from_false_positive_rate(good, 0.1)
    assert int((jnp.asarray(good) >= threshold).sum()) == (good >= threshold).sum() == 100


def test_from_good_takes_all_pixels_and_all_images():
    rng = np.random.default_rng(0)
    maps = rng.random((10, 8, 8), np.float32)
    image = maps.max((1, 2))
    found = thresholds.from_good(maps, image, 0.05, 0.2)
    assert (maps >= found.pixel).sum() == 32
    assert (image >= found.image).sum() == 2


def test_bad_scores_and_rates_are_refused():
    find = thresholds.from_false_positive_rate
    with pytest.raises(ValueError, match="at least one"):
        find(np.zeros(0), 0.5)
    with pytest.raises(ValueError, match="1 of 2 scores are not finite"):
        find(np.array([0, np.nan]), 0.5)
    for value in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=r"accepted: 0 \.\. 1"):
            find(np.zeros(3), value)
