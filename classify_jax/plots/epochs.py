"""Accuracy by epoch."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from engine_jax.plots import metric_curves

_TITLES = {"top1": "top-1 accuracy", "top5": "top-5 accuracy"}


def accuracy_curves(
    history: Sequence[Mapping[str, float]], best_epoch: float | None = None
) -> Figure:
    """Top-1 and top-5 accuracy of each split in percent by epoch.

    Args:
        history: rows of metrics.jsonl, each with "epoch" and some of "<split>/top1_error" and "<split>/top5_error",
            fractions in [0, 1].
        best_epoch: the epoch whose parameters were chosen, marked.

    Raises:
        UserError: the history holds none of these errors.
    """
    ending = "_error"
    rows = [
        {
            name.removesuffix(ending): 100 * (1 - value) if name.endswith(ending) else value
            for name, value in row.items()
        }
        for row in history
    ]
    measured = {
        metric: title
        for metric, title in _TITLES.items()
        if metric == "top1" or any(name.endswith(f"/{metric}") for row in rows for name in row)
    }
    return metric_curves(rows, (measured,), best_epoch=best_epoch)
