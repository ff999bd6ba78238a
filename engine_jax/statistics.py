"""Rates with bootstrap intervals, ready for JSON. Plain NumPy in float64 on the host."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from engine_jax.config import Range

# Bootstrap resamples, as a configuration gives them; `bootstrap_weights` of more would fill memory after training.
Resamples = Annotated[int, Range(1, 100_000)]

INTERVAL = (2.5, 97.5)  # percentiles: 95 % intervals


def divide(a: ArrayLike, b: ArrayLike, otherwise: float = np.nan) -> np.ndarray:
    """a / b where b is above 0, and `otherwise` elsewhere; a and b broadcast."""
    shape = np.broadcast_shapes(np.shape(a), np.shape(b))
    return np.divide(a, b, out=np.full(shape, float(otherwise)), where=np.asarray(b) > 0)


def bootstrap_weights(n: int, resamples: int, seed: int) -> Float[np.ndarray, "r n"]:
    """How often each of n images occurs in each resample of n images drawn with replacement (Efron 1979).

    A sum over the images of every resample is a product with this matrix. The same seed gives the same resamples for
    everything that is measured on n images.
    """
    if not n:
        return np.zeros((resamples, 0))
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), resamples)
    return draws.astype(np.float64)


def percentile_interval(resampled: Float[np.ndarray, " r"]) -> list[float] | None:
    """The 95 % percentile bootstrap interval [low, high] of the resampled values that are not NaN; None without any."""
    known = resampled[~np.isnan(resampled)]
    return np.percentile(known, INTERVAL).tolist() if known.size else None


def number(value: ArrayLike) -> float | None:
    """An array of one element as a Python float; NaN, which JSON doesn't have, becomes None."""
    value = float(np.asarray(value).item())
    return None if np.isnan(value) else value


def map_leaves(function: Callable[[Any], Any], tree: Mapping[str, Any]) -> dict[str, Any]:
    """Applies a function to every value of nested dictionaries that is not itself a dictionary."""
    return {
        key: map_leaves(function, value) if isinstance(value, Mapping) else function(value)
        for key, value in tree.items()
    }
