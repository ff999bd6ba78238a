"""Scores of class probabilities, with bootstrap intervals. Plain NumPy on the host; rates are fractions in [0, 1].

Ties between probabilities are broken in favour of the lower class index.
"""

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from engine_jax.statistics import divide, number, percentile_interval


def ranks(
    probabilities: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
    """The number of classes ranked above the true one; 0 if the prediction is right.

    Raises:
        ValueError: the shapes do not fit, a label is out of range, or a probability is not finite.
    """
    n, k = probabilities.shape
    if labels.shape != (n,) or not n or labels.min() < 0 or labels.max() >= k:
        raise ValueError(f"labels {labels.shape} of probabilities {probabilities.shape}")
    if not np.isfinite(probabilities).all():
        raise ValueError("probabilities: a value is not finite")
    own = np.take_along_axis(probabilities, labels[:, None], 1)
    before = (probabilities == own) & (np.arange(k) < labels[:, None])
    return ((probabilities > own) | before).sum(1)


def top_error(
    probabilities: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"], top: int
) -> float | None:
    """The share of images whose class is not among the `top` most probable; None with at most `top` classes."""
    if probabilities.shape[1] <= top:
        return None
    return float((ranks(probabilities, labels) >= top).mean())


def top_errors(
    probabilities: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"]
) -> dict[str, float | None]:
    """`top_error` of the most probable class and of the five most probable ones, by name."""
    return {f"top{k}_error": top_error(probabilities, labels, k) for k in (1, 5)}


def interval(error: float, count: int, resamples: int, seed: int) -> list[float] | None:
    """95 % percentile bootstrap interval (Efron 1979) of an error over `count` images.

    Each image is wrong or right, so the number of wrong ones in a resample with replacement is binomial.
    """
    drawn = np.random.default_rng(seed).binomial(count, error, resamples) / count
    return percentile_interval(drawn)


def confusion(
    probabilities: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"]
) -> Int[np.ndarray, "k k"]:
    """The number of images of each class (rows) that are predicted as each class (columns)."""
    k = probabilities.shape[1]
    found = np.zeros((k, k), np.int64)
    np.add.at(found, (labels, probabilities.argmax(1)), 1)
    return found


def score(
    probabilities: Float[np.ndarray, "n k"],
    labels: Int[np.ndarray, " n"],
    class_names: tuple[str, ...],
    *,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Every score of a test part, ready for JSON.

    Returns:
        `top1_error`, `top5_error` (None for five classes or fewer), `intervals` of both, `per_class`: the images and
        the accuracy of each class (None without images), `mean_class_accuracy` over those with images, `confusion`.
    """
    errors = top_errors(probabilities, labels)
    matrix = confusion(probabilities, labels)
    counts = matrix.sum(1)
    accuracies = [number(accuracy) for accuracy in divide(matrix.diagonal(), counts)]
    return {
        **errors,
        "intervals": {
            name: interval(error, len(labels), resamples, seed)
            for name, error in errors.items()
            if error is not None
        },
        "mean_class_accuracy": float(np.mean([a for a in accuracies if a is not None])),
        "per_class": {
            name: {"images": int(count), "accuracy": accuracy}
            for name, count, accuracy in zip(class_names, counts, accuracies, strict=True)
        },
        "confusion": matrix.tolist(),
    }
