import json

import numpy as np
import pytest

from engine_jax import statistics


def test_division_is_defined_where_the_denominator_is_positive():
    a, b = np.array([[1], [2]]), np.array([4, 0, -1])
    nan = np.nan
    np.testing.assert_array_equal(statistics.divide(a, b), [[0.25, nan, nan], [0.5, nan, nan]])
    np.testing.assert_array_equal(statistics.divide(a, b, otherwise=1)[0], [0.25, 1, 1])


def test_a_resample_has_as_many_images_as_the_set():
    weights = statistics.bootstrap_weights(7, 50, seed=1)
    assert weights.shape == (50, 7)
    assert (weights.sum(1) == 7).all()
    assert len(np.unique(weights, axis=0)) > 40
    np.testing.assert_array_equal(weights, statistics.bootstrap_weights(7, 50, seed=1))
    assert (weights != statistics.bootstrap_weights(7, 50, seed=2)).any()
    assert statistics.bootstrap_weights(0, 50, seed=1).shape == (50, 0)


def test_the_bootstrap_interval_of_a_mean_is_the_normal_one():
    values = np.random.default_rng(0).normal(size=400)
    means = statistics.bootstrap_weights(400, 4000, seed=0) @ values / 400
    low, high = statistics.percentile_interval(means)
    reach = 1.96 * values.std() / np.sqrt(400)
    assert [low, high] == pytest.approx([values.mean() - reach, values.mean() + reach], abs=0.01)


def test_an_interval_leaves_out_resamples_without_a_value():
    known = np.linspace(0, 1, 101)
    with_gaps = np.append(known, [np.nan] * 20)
    assert statistics.percentile_interval(with_gaps) == pytest.approx([0.025, 0.975])
    assert statistics.percentile_interval(np.full(3, np.nan)) is None


def test_nested_values_are_ready_for_json():
    tree = {"a": np.array([0.5]), "b": {"c": np.float32(np.nan), "d": np.array(2)}}
    found = statistics.map_leaves(statistics.number, tree)
    assert json.loads(json.dumps(found, allow_nan=False)) == {"a": 0.5, "b": {"c": None, "d": 2.0}}
