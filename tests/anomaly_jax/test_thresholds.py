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
WANTED = 0.05
DRAWS = 1000


def from_images(good, rate):
    return thresholds.image_threshold(good, rate)[0]


@pytest.mark.parametrize(("n", "rate"), [(3, 1 / 4), (21, 1 / 22), (40, 2 / 41), (213, 10 / 214)])
def test_the_promised_rates_come_out_on_new_images(n, rate):
    """A thousand times n good images give thresholds; new images reach them as often as promised, and as the band says.

    Scores are uniform, so that the rate on new images is known exactly. All pixels of an image but a few are alike.
    """
    rng = np.random.default_rng(n)
    promise = thresholds.promise(n, WANTED)
    assert promise.rate == pytest.approx(rate)
    assert promise.kept == (n >= 19)
    rates = {"image": [], "pixel": []}
    for _ in range(DRAWS):
        found, again = thresholds.image_threshold(rng.random(n), WANTED)
        assert again == promise
        rates["image"].append(1 - found)
        if n <= 40:
            # Of 100 pixels five are above their image's level, in all images, and five per cent are tolerated.
            levels = rng.random((n, 1, 1))
            maps = np.concatenate([np.repeat(levels, 95, 1), np.full((n, 5, 1), 2.0)], 1)
            found, again = thresholds.from_good(maps, rng.random(n), 0.05, WANTED)
            assert again == promise
            rates["pixel"].append(1 - found.pixel)
    for found in (np.array(rates[level]) for level in rates if rates[level]):
        assert abs(found.mean() - promise.rate) < 4 * found.std() / np.sqrt(DRAWS)
        low, high = promise.band
        assert 0.93 < ((found >= low) & (found <= high)).mean() < 0.97
    # The rule that allows a share of r among the n images themselves gives more.
    assert promise.rate < (np.floor(WANTED * n) + 1) / (n + 1) or n == 3


def test_the_band_gets_narrower_with_more_images():
    few, many = thresholds.promise(21, 0.05).band, thresholds.promise(213, 0.05).band
    np.testing.assert_allclose(few, (0.0012, 0.161), atol=5e-4)
    np.testing.assert_allclose(many, (0.0227, 0.0784), atol=5e-4)


def test_too_few_images_promise_what_they_can():
    promise = thresholds.promise(3, 0.05)
    assert (promise.rate, promise.kept, promise.images_needed) == (0.25, False, 19)
    assert thresholds.promise(19, 0.05).kept
    assert not thresholds.promise(18, 0.05).kept
    assert thresholds.promise(100, 0).images_needed is None
    assert not thresholds.promise(100, 0).kept
    assert thresholds.promise(99, 0.29).rate == pytest.approx(0.29)
    everything = thresholds.promise(9, 1)
    assert (everything.rate, everything.kept) == (0.9, True)


@settings(deadline=None)
@given(scores, st.floats(0, 1))
def test_at_most_a_share_reaches_the_lowest_threshold(good, share):
    threshold = thresholds.lowest_threshold(good, share)
    assert (good >= threshold).mean() <= share + 1e-9
    lower = float(np.nextafter(np.float32(threshold), np.float32(-np.inf)))
    assert (good >= lower).mean() > share or threshold == good.min()


def test_lowest_thresholds_by_hand():
    good = np.arange(20, dtype=np.float32)
    assert (good >= thresholds.lowest_threshold(good, 0.05)).sum() == 1
    assert (good >= thresholds.lowest_threshold(good, 0.3)).sum() == 6
    assert (good >= thresholds.lowest_threshold(good, 0.049)).sum() == 0
    assert thresholds.lowest_threshold(good, 0) == np.nextafter(np.float32(19), np.inf)
    assert thresholds.lowest_threshold(good, 1) == 0
    hundred = np.arange(100.0)
    assert (hundred >= thresholds.lowest_threshold(hundred, 0.29)).sum() == 29


def test_thresholds_of_images_by_hand():
    good = np.arange(39, dtype=np.float32)
    assert (good >= from_images(good, 0.05)).sum() == 1  # 2 of 40, one of which is the new image
    assert (good >= from_images(good, 0.074)).sum() == 1
    assert (good >= from_images(good, 0.075)).sum() == 2
    assert (good >= from_images(good, 0)).sum() == 0
    assert from_images(good, 0) == np.nextafter(np.float32(38), np.inf)


def test_tied_scores_are_left_on_the_good_side():
    good = np.array([0, 1, 1, 1], np.float32)
    for find in (thresholds.lowest_threshold, from_images):
        assert (good >= find(good, 0.5)).sum() == 0
    assert (good >= thresholds.lowest_threshold(good, 0.75)).sum() == 3
    assert (good >= from_images(good, 0.8)).sum() == 3


def test_the_threshold_of_pixels_leaves_all_but_a_few_images_below_the_share():
    rng = np.random.default_rng(0)
    maps = [rng.random(shape, np.float32) * rng.random() for shape in [(8, 8), (10, 7)] * 10]
    found, promise = thresholds.from_good(maps, np.zeros(20, np.float32), 0.1, 0.2)
    shares = [(each >= found.pixel).mean() for each in maps]
    assert sum(share > 0.1 for share in shares) == 3  # with the new image 4 of 21
    assert promise.rate == 4 / 21
    lower = np.nextafter(np.float32(found.pixel), np.float32(-np.inf))
    assert sum((each >= lower).mean() > 0.1 for each in maps) == 4


@settings(deadline=None)
@given(scores, st.floats(0, 1))
def test_decisions_are_the_same_after_json(good, rate):
    threshold = from_images(good, rate)
    assert type(threshold) is float
    assert np.float32(threshold) == threshold
    again = json.loads(json.dumps(threshold))
    np.testing.assert_array_equal(good >= again, good >= np.float32(threshold))


def test_decisions_on_the_device_agree():
    good = np.random.default_rng(0).random(1000, np.float32)
    threshold = thresholds.lowest_threshold(good, 0.1)
    assert int((jnp.asarray(good) >= threshold).sum()) == (good >= threshold).sum() == 100


def test_bad_scores_and_rates_are_refused():
    for find in (thresholds.lowest_threshold, from_images):
        with pytest.raises(ValueError, match="at least one"):
            find(np.zeros(0), 0.5)
        with pytest.raises(ValueError, match="1 of 2 scores are not finite"):
            find(np.array([0, np.nan]), 0.5)
        for value in (-0.1, 1.1, float("nan")):
            with pytest.raises(ValueError, match=r"accepted: 0 \.\. 1"):
                find(np.zeros(3), value)
    with pytest.raises(ValueError, match="1 maps and 2 scores"):
        thresholds.from_good([np.zeros((2, 2))], np.zeros(2), 0.1, 0.1)
