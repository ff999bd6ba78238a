"""Plots of poses: arrays and numbers in, a matplotlib Figure that belongs to the caller out.

    from engine_jax.plots import save

    figure = pose_grid(images, true, predicted, labelled, LSP, "Test images")
    save(figure, "poses.png")

The loss by epoch is `engine_jax.plots.loss_curves`.
"""

from deeppose_jax.plots.cascade import displacement_clouds, refiner_crops
from deeppose_jax.plots.poses import pose_grid, stages_row
from deeppose_jax.plots.scores import measured, metric_curves, pdj_over_thresholds, scores_by_stage
from deeppose_jax.plots.skeletons import draw_skeleton

__all__ = [
    "displacement_clouds",
    "draw_skeleton",
    "measured",
    "metric_curves",
    "pdj_over_thresholds",
    "pose_grid",
    "refiner_crops",
    "scores_by_stage",
    "stages_row",
]
