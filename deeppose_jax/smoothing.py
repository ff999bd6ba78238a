"""The 1 euro filter, which smooths a track of joints (Casiez, Roussel and Vogel, CHI 2012)."""

import math

import numpy as np
from jaxtyping import Float

SPEED_CUTOFF = 1.0  # Hz, of the low-pass filter of speeds; the paper's d_cutoff
BETA = 5.0  # Hz of cutoff for a speed of one unit a second


class OneEuroFilter:
    """A low-pass filter whose cutoff rises with speed: little jitter at rest, little lag in motion.

    Each point's cutoff is `cutoff` + `beta` |v|, where v is its own speed after a low-pass filter of SPEED_CUTOFF
    (algorithm 1 of the paper, with one speed for both coordinates of a point).

    Args:
        cutoff: Hz, of a point at rest; lower is smoother.
        beta: how much the cutoff rises, in Hz for one unit a second. Units are those in which the points are given;
            where these are parts of a person's box, BETA.
    """

    def __init__(self, cutoff: float, beta: float = BETA):
        self._cutoff, self._beta = cutoff, beta
        self._last: tuple[np.ndarray, np.ndarray, float] | None = None

    def __call__(self, points: Float[np.ndarray, "k 2"], seconds: float) -> np.ndarray:
        """The smoothed points [k, 2] at a time; a time that isn't later than the last gives the last ones."""
        points = np.asarray(points, np.float64)
        if self._last is None:
            self._last = points, np.zeros_like(points), seconds
            return points
        before, speed, then = self._last
        passed = seconds - then
        if passed <= 0:
            return before
        speed = speed + _share(SPEED_CUTOFF, passed) * ((points - before) / passed - speed)
        cutoff = self._cutoff + self._beta * np.linalg.norm(speed, axis=-1, keepdims=True)
        smooth = before + _share(cutoff, passed) * (points - before)
        self._last = smooth, speed, seconds
        return smooth


def _share(cutoff, passed: float):
    """How much of a new value a low-pass filter of the cutoff takes after some seconds: 1 / (1 + tau / passed)."""
    return 1 / (1 + 1 / (2 * math.pi * cutoff * passed))
