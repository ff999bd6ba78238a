"""Residual maps, smoothing, sizes, image scores and decisions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from anomaly_jax import framing, losses, metrics, scoring
from anomaly_jax.thresholds import Thresholds

smooth = jax.jit(scoring.smooth, static_argnames="sigma")
residual_map = jax.jit(scoring.residual_map, static_argnames=("kind", "window"))


def pairs(size=24):
    rng = np.random.default_rng(0)
    return rng.uniform(size=(2, 3, size, size, 3)).astype(np.float32)


def maps(n=3, h=20, w=26):
    return np.random.default_rng(1).uniform(size=(n, h, w)).astype(np.float32)


def test_absolute_and_squared_are_means_over_the_channels():
    x = np.zeros((1, 2, 2, 3), np.float32)
    y = x.copy()
    y[0, 0, 1] = [0.1, 0.2, 0.6]
    np.testing.assert_allclose(residual_map(x, y, "absolute")[0], [[0, 0.3], [0, 0]], rtol=1e-6)
    np.testing.assert_allclose(residual_map(x, y, "squared")[0], [[0, 0.41 / 3], [0, 0]], rtol=1e-6)


def test_ssim_takes_its_similarity_from_1_to_minus_1_into_0_to_1():
    x, y = pairs()
    for window in (11, 5):
        expected = (1 - np.asarray(losses.ssim_map(x, y, window=window))) / 2
        found = residual_map(x, y, "ssim", window=window)
        np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(residual_map(x, x, "ssim"), 0, atol=1e-6)


@pytest.mark.parametrize("kind", ["absolute", "squared", "ssim"])
def test_residuals_are_maps_in_0_to_1_whatever_the_reconstruction(kind):
    stripes = np.broadcast_to(np.arange(24)[:, None, None] % 2, (24, 24, 3)).astype(np.float32)
    images = np.stack([stripes, stripes, stripes])
    found = residual_map(images, np.stack([1 - stripes, 9 * stripes - 4, stripes]), kind)
    assert found.shape == (3, 24, 24)
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1
    assert float(found[0].mean()) > 0.9
    np.testing.assert_allclose(found[1:], 0, atol=1e-6)  # Beyond black and white there is nothing.


def test_smoothing_is_scipy_s():
    for sigma in (0.7, 4.0):
        expected = [ndimage.gaussian_filter(m, sigma, mode="reflect", truncate=4) for m in maps()]
        np.testing.assert_allclose(smooth(maps(), sigma), expected, atol=1e-6)
    np.testing.assert_array_equal(smooth(maps(), 0), maps())


def test_smoothing_that_is_wider_than_the_map_is_refused():
    with pytest.raises(
        ValueError, match=r"sigma: 6.0 reaches over 24 px; the maps are of \(20, 26\)"
    ):
        smooth(maps(), 6.0)
    for sigma in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="accepted: 0 or more"):
            smooth(maps(), sigma)


def test_anomaly_maps_are_smoothed_residuals_in_one_compilation():
    x, y = pairs()
    arguments = {"residual": "absolute", "sigma": 1.5}
    expected = smooth(residual_map(x, y, "absolute"), 1.5)
    before = scoring.anomaly_maps._cache_size()
    np.testing.assert_allclose(scoring.anomaly_maps(x, y, **arguments), expected, atol=1e-6)
    np.testing.assert_allclose(scoring.anomaly_maps(y, x, **arguments), expected, atol=1e-6)
    assert scoring.anomaly_maps._cache_size() == before + 1


def test_a_map_is_resized_about_pixel_centres():
    small = maps()[0]
    found = framing.resize_map(jnp.asarray(small), (61, 40))
    assert (found.shape, found.dtype) == ((61, 40), np.float32)
    np.testing.assert_allclose(found, jax.image.resize(small, (61, 40), "bilinear"), atol=1e-5)
    np.testing.assert_array_equal(framing.resize_map(small, (20, 26)), small)
    shrunk = framing.resize_map(small, (10, 13))
    np.testing.assert_allclose(shrunk, jax.image.resize(small, (10, 13), "bilinear"), atol=1e-5)


def test_image_scores():
    values = np.arange(2 * 10 * 30, dtype=np.float32).reshape(2, 10, 30)
    values = values[:, ::-1, ::-1].copy()  # The largest stand first: 299, 298, ... and 599, ...
    np.testing.assert_allclose(scoring.image_score(values, "max"), [299, 599])
    np.testing.assert_allclose(scoring.image_score(values, "mean"), [149.5, 449.5])
    np.testing.assert_allclose(scoring.image_score(values, "top"), [298, 598])  # 3 of 300 pixels
    np.testing.assert_allclose(scoring.image_score(values, "top", part=0.1), [284.5, 584.5])
    # So few pixels are one, and all of them the mean.
    np.testing.assert_allclose(scoring.image_score(values, "top", part=1e-6), [299, 599])
    np.testing.assert_allclose(scoring.image_score(values, "top", part=1), [149.5, 449.5])


@pytest.mark.usefixtures("unchecked_shapes")
def test_unknown_kinds_and_other_shapes_are_refused():
    x, y = pairs()
    with pytest.raises(ValueError, match="kind: 'l1'; accepted: absolute, squared, ssim"):
        residual_map(x, y, "l1")
    with pytest.raises(ValueError, match=r"same shape \[b, h, w, c\], not \(3, 24, 24, 3\) and"):
        residual_map(x, y[:2], "absolute")
    with pytest.raises(ValueError, match="kind: 'median'; accepted: max, mean, top"):
        scoring.image_score(maps(), "median")
    for part in (0, 1.5):
        with pytest.raises(ValueError, match=r"part: .*; accepted: above 0 and at most 1"):
            scoring.image_score(maps(), "top", part=part)


def test_what_is_at_least_the_threshold_is_faulty():
    anomaly_map = np.array([[0.25, 0.5], [0.75, 1]], np.float32)
    found = scoring.decide(anomaly_map, 0.5, Thresholds(pixel=0.75, image=0.5))
    np.testing.assert_array_equal(found.pred_mask, [[False, False], [True, True]])
    assert found.pred_label is True
    assert (found.pred_score, found.anomaly_map.tolist()) == (0.5, anomaly_map.tolist())
    assert scoring.decide(anomaly_map, 0.5, Thresholds(0.75, 0.5001)).pred_label is False


def test_without_a_threshold_there_is_no_decision():
    found = scoring.decide(maps()[0], np.float32(0.5), Thresholds(None, None))
    assert found.pred_label is None
    assert found.pred_mask is None
    assert type(found.pred_score) is float


@pytest.mark.parametrize("threshold", [0.1, 0.15, 0.2, 0.3, 0.7])
def test_decisions_are_those_that_the_metrics_count(threshold):
    # 0.7 in float32 lies below 0.7, which it reaches all the same.
    values = np.stack([np.nextafter(np.float32(threshold), np.float32(d)) for d in (0, 1)])
    values = np.array([*values, threshold, 0, 1], np.float32).reshape(1, 1, 5)
    masks = np.ones((1, 1, 5), bool)
    (recall,) = metrics.accuracies(values, masks, [threshold])["recall"]
    found = scoring.decide(values[0], 1.0, Thresholds(threshold, None)).pred_mask
    assert found.mean() == recall == 0.6
    assert scoring.decide(values[0], values[0, 0, 2], Thresholds(None, threshold)).pred_label
