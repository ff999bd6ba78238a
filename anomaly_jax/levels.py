"""The thresholds at which a test set's pixels are counted, chosen image by image, so that memory stays bounded."""

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float

LEVELS = 2000  # of the scores of good pixels, and of each kind of faulty ones


@dataclass
class Levels:
    """Levels of the scores of a test set, to which its images are added one after the other.

    While no kind of pixels has more than LEVELS scores in an image or in all, every score is a level of its own, and
    counts at the thresholds are exact (see `anomaly_jax.curves`). Otherwise the levels of a kind are spread evenly over
    its pixels: between two neighbours lie at most 2 / (LEVELS - 1) of them, or pixels of one score.
    """

    _good: list["_Sample"] = field(default_factory=list)
    _faulty: dict[str, list["_Sample"]] = field(default_factory=lambda: defaultdict(list))

    def add(
        self, scores: Float[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"], kind: str
    ) -> None:
        """Adds an image, whose faulty pixels are of a kind."""
        self._good.append(_sample(scores[~mask]))
        if mask.any():
            self._faulty[kind].append(_sample(scores[mask]))

    def thresholds(self, given: Float[np.ndarray, " g"]) -> Float[np.ndarray, " t"]:
        """Thresholds at all levels, descending.

        Each faulty level has two, itself and the next larger number, between which only good pixels are counted. The
        good pixels' levels are among them where the faulty levels aren't all of their scores.

        Args:
            given: taken too.
        """
        found = [_spread(samples) for samples in self._faulty.values()]
        if any(sample.weight > 1 for kind in self._faulty.values() for sample in kind) or any(
            len(levels) == LEVELS for levels in found
        ):
            good = [_spread(self._good)]
        else:
            good = []
        levels = np.concatenate([*found, *good, given[:0]])
        above = np.nextafter(levels, np.inf, dtype=levels.dtype)
        return np.unique(np.concatenate([levels, above, given]))[::-1]


@dataclass(frozen=True)
class _Sample:
    """Evenly spaced ones of an image's sorted scores, and how many scores each stands for."""

    scores: Float[np.ndarray, " s"]
    weight: float


def _sample(scores: Float[np.ndarray, " s"]) -> _Sample:
    scores = np.sort(scores)
    if len(scores) <= LEVELS:
        return _Sample(scores, 1)
    chosen = np.linspace(0, len(scores) - 1, LEVELS).round().astype(int)
    return _Sample(scores[chosen], len(scores) / LEVELS)


def _spread(samples: list[_Sample]) -> Float[np.ndarray, " l"]:
    """At most LEVELS of the samples' scores, evenly spread over the pixels that they stand for."""
    scores = np.concatenate([sample.scores for sample in samples])
    if len(scores) <= LEVELS:
        return np.unique(scores)
    weights = np.concatenate([np.full(len(s.scores), s.weight) for s in samples])
    order = np.argsort(scores)
    passed = np.cumsum(weights[order])
    chosen = np.searchsorted(passed, np.linspace(passed[0], passed[-1], LEVELS))
    return scores[order][chosen]
