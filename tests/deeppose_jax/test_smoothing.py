"""The 1 euro filter."""

import math

import numpy as np
import pytest

from deeppose_jax.smoothing import BETA, OneEuroFilter

RATE = 30.0


def filtered(track, cutoff=1.0, beta=BETA):
    """A track [n, k, 2] at 30 frames a second, smoothed."""
    smooth = OneEuroFilter(cutoff, beta)
    return np.stack([smooth(points, i / RATE) for i, points in enumerate(track)])


def test_the_second_value_is_the_papers():
    """Algorithm 1 for a point that goes from (0, 0) to (0.3, 0.4) in a tenth of a second, with beta 2."""
    smooth = OneEuroFilter(1.5, beta=2.0)
    smooth(np.zeros((1, 2)), 5.0)

    def alpha(cutoff):
        tau = 1 / (2 * math.pi * cutoff)
        return 1 / (1 + tau / 0.1)

    speed = alpha(1.0) * 0.5 / 0.1
    expected = alpha(1.5 + 2.0 * speed) * np.array([[0.3, 0.4]])
    np.testing.assert_allclose(smooth(np.array([[0.3, 0.4]]), 5.1), expected, rtol=1e-12)


def test_what_rests_stays_and_jitters_less():
    rest = np.full((60, 3, 2), 0.5)
    np.testing.assert_allclose(filtered(rest), rest)
    noisy = rest + np.random.default_rng(0).normal(0, 0.004, rest.shape)
    assert filtered(noisy)[20:].std() < 0.6 * noisy[20:].std()


def test_fast_points_lag_less_than_behind_a_constant_cutoff():
    track = np.zeros((60, 2, 2))
    track[:, 0, 0] = np.arange(60) / RATE * 3  # The first of two points moves by 3 units a second.
    lag = np.abs(filtered(track) - track)[-1]
    constant = np.abs(filtered(track, beta=0.0) - track)[-1]
    assert lag[0, 0] < 0.25 * constant[0, 0]
    assert lag[1].tolist() == [0, 0]


@pytest.mark.parametrize("seconds", [1.0, 0.5])
def test_a_time_that_is_not_later_changes_nothing(seconds):
    smooth = OneEuroFilter(1.0)
    first = smooth(np.zeros((2, 2)), 1.0)
    np.testing.assert_array_equal(smooth(np.ones((2, 2)), seconds), first)
    assert (smooth(np.ones((2, 2)), 1.1) > 0).all()
