"""Plots of an anomaly run: arrays and numbers in, a matplotlib Figure that belongs to the caller out.

    from engine_jax.plots import save

    figure = detections(images, reconstructions, maps, masks, {"0.1": 0.1, "0.2": 0.2}, names, "crack")
    save(figure, "crack.png")

The loss by epoch is `engine_jax.plots.loss_curves`.
"""

from anomaly_jax.plots.epochs import accuracies_by_epoch
from anomaly_jax.plots.histograms import score_histograms
from anomaly_jax.plots.images import detections
from anomaly_jax.plots.rankings import ranking_curves

__all__ = ["accuracies_by_epoch", "detections", "ranking_curves", "score_histograms"]
