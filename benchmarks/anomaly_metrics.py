"""Times pixel AUROC and AUPRO of a test set's anomaly maps beside scikit-learn and scipy.ndimage.

    python -m benchmarks.anomaly_metrics [--images 100] [--size 256] [--turns 5] [--json FILE]

Ours are those of a run's results.json: counts of each image, one after the other, at some thousands of thresholds. The
others are `sklearn.metrics.roc_auc_score` of all pixels, and the per-region overlap at every score: regions by
`scipy.ndimage.label`, all pixels sorted by their scores, and the area up to a false positive rate of 0.3. They are
exact; printed as well: by how much ours differ. Half of the images are good, the others have faults of several sizes.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from anomaly_jax import curves
from anomaly_jax.groups import count_groups
from benchmarks.table import in_turns, show_times

_LARGEST = 0.25  # of an image's side, a fault's radius


class Areas(NamedTuple):
    """Pixel AUROC and AUPRO."""

    auroc: float
    aupro: float


def test_set(
    images: int, size: int
) -> tuple[Float[np.ndarray, "n s s"], Bool[np.ndarray, "n s s"]]:
    """Smooth noisy maps, and round faults in every second image, three of them, which raise the scores a little."""
    random = np.random.default_rng(0)
    masks = np.zeros((images, size, size), bool)
    y, x = np.mgrid[:size, :size]
    for mask in masks[1::2]:
        for _ in range(3):
            row, column = random.uniform(0, size, 2)
            radius = size * _LARGEST * random.uniform(0.1, 1) ** 2
            mask |= (y - row) ** 2 + (x - column) ** 2 < radius**2
    noise = ndimage.gaussian_filter(random.normal(size=masks.shape), (0, 3, 3))
    raised = ndimage.gaussian_filter(masks.astype(float), (0, 3, 3))
    maps = np.abs(noise) + 0.4 * raised * random.uniform(0, 1, (images, 1, 1))
    return maps.astype(np.float32), masks


def ours(maps: Float[np.ndarray, "n s s"], masks: Bool[np.ndarray, "n s s"]) -> Areas:
    """As a run's report measures them."""
    defects = ["fault" if mask.any() else "good" for mask in masks]
    counts = count_groups(maps, masks, maps.max((1, 2)), defects).all.pixel
    return Areas(float(curves.auroc(counts)), float(curves.aupro(counts)))


def others(
    maps: Float[np.ndarray, "n s s"], masks: Bool[np.ndarray, "n s s"], limit: float = 0.3
) -> Areas:
    """By scikit-learn, and by scipy.ndimage and NumPy, at every score."""
    weights, regions = np.zeros(masks.shape), 0
    for weight, mask in zip(weights, masks, strict=True):
        labels = np.empty(mask.shape, np.int32)
        regions += int(ndimage.label(mask, np.ones((3, 3)), output=labels))  # pyright: ignore[reportArgumentType]
        weight[mask] = 1 / np.bincount(labels.ravel())[labels[mask]]
    order = np.argsort(-maps, axis=None)
    scores = maps.ravel()[order]
    last = np.append(np.diff(scores) != 0, True)  # of equal scores
    rate = np.cumsum(~masks.ravel()[order])[last] / (~masks).sum()
    overlap = np.cumsum(weights.ravel()[order])[last] / regions
    inside = rate <= limit
    x = np.concatenate([[0], rate[inside], [limit]])
    y = np.concatenate([[0], overlap[inside], [np.interp(limit, rate, overlap)]])
    aupro = float(np.trapezoid(y, x)) / limit
    return Areas(float(roc_auc_score(masks.ravel(), maps.ravel())), aupro)


def _timed(function: Callable[[], Areas]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description="Times AUROC and AUPRO of anomaly maps.")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--json", type=Path, help="a file to write the times to")
    args = parser.parse_args()
    given = test_set(args.images, args.size)
    forms = {"ours": ours, "scikit-learn and scipy.ndimage": others}
    seconds = in_turns(
        {n: partial(_timed, partial(f, *given)) for n, f in forms.items()}, args.turns
    )
    title = f"AUROC and AUPRO of {args.images} maps of {args.size} px, {args.turns} turns"
    show_times(title, seconds, "ours", args.json)
    found, exact = (function(*given) for function in forms.values())
    for name, value, true in zip(Areas._fields, found, exact, strict=True):
        print(f"\n{name}: ours {value:.6f}, exact {true:.6f}, difference {value - true:+.1e}")


if __name__ == "__main__":
    main()
