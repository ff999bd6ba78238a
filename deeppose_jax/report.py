"""What a finished run leaves behind: results.json and its plots."""

import logging
from importlib.metadata import version
from typing import Any

import jax
import numpy as np

from deeppose_jax import evaluate, metrics, plots, plots_poses, published
from deeppose_jax.config import PoseConfig
from deeppose_jax.data.load import Part, Parts
from deeppose_jax.predictor import Predictor, to_image_pixels
from deeppose_jax.skeleton import Skeleton
from engine_jax.loop import Fit
from engine_jax.run_folder import RunFolder
from engine_jax.writer import read_metrics

_GRID = 20  # images in a grid of poses
_CURVE = tuple(np.round(np.arange(0.02, 0.51, 0.02), 2).tolist())  # thresholds of the PDJ curve
_PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "numpy")


def write_report(
    folder: RunFolder,
    settings: PoseConfig,
    parts: Parts,
    skeleton: Skeleton,
    fitted: Fit,
    predictor: Predictor,
    floor: np.ndarray,
) -> dict[str, Any]:
    """Scores the best parameters, writes results.json and the plots, prints the table; returns the results.

    Args:
        floor: the mean training pose on every test image, [n, k, 2] in the images' pixels.
    """
    test = parts.test.poses
    true = to_image_pixels(test.joints, test)
    predicted = predictor(fitted.best, test).joints

    def score(joints: np.ndarray) -> dict[str, Any]:
        return metrics.score(
            joints,
            true,
            test.labelled,
            skeleton,
            settings.evaluation.thresholds,
            resamples=settings.evaluation.bootstrap,
            seed=settings.seed,
        )

    scores, floor_scores = score(predicted), score(floor)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(fitted.best.params))
    results = {
        "task": settings.task,
        "preset": settings.preset,
        "dataset": settings.data.dataset,
        "labels": settings.data.labels,
        "split": settings.data.split,
        "splits": parts.sizes(),
        "stages": [
            {
                "stage": 1,
                "parameters": parameters,
                "epochs": fitted.epochs,
                "best_epoch": fitted.best_epoch,
                **scores,
            }
        ],
        "mean_pose": floor_scores,
        "seconds": round(fitted.seconds, 1),
        "images_per_second": round(fitted.images_per_second, 1),
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "seed": settings.seed,
        "versions": {package: version(package) for package in _PACKAGES},
    }
    # Every process predicts; one of them draws and writes.
    shown = Part(
        jax.tree.map(lambda array: array[:_GRID], parts.train.poses), parts.train.names[:_GRID]
    )
    on_train = predictor(fitted.best, shown.poses).joints
    if jax.process_index() == 0:
        _write_curves(folder, results)
        _write_pdj(folder, settings, parts.test, skeleton, predicted, floor)
        _write_pose_grid(folder, "test", parts.test, predicted, skeleton)
        _write_pose_grid(folder, "train", shown, on_train, skeleton)
        folder.write_results(results)
        logging.info("%s", evaluate.table(scores, floor_scores))
        logging.info("results in %s, pictures in %s", folder.path / "results.json", folder.plots)
    return results


def _write_curves(folder: RunFolder, results: dict[str, Any]) -> None:
    """Losses and scores by epoch, and PCP by part."""
    history = read_metrics(folder.metrics)
    (stage,), floor = results["stages"], results["mean_pose"]
    dotted = {row: floor[row]["four_limbs"] for row in ("pcp_strict", "pcp_loose")}
    dotted |= {f"pdj_{threshold}": row["total"] for threshold, row in floor["pdj"].items()}
    plots.save(plots.loss_curves(history), folder.plots / "loss.png")
    figure = plots.metric_curves(history, dotted, stage["best_epoch"])
    plots.save(figure, folder.plots / "metrics.png")
    plots.save(plots.comparison_bars({"stage 1": stage}, floor), folder.plots / "parts.png")


def _write_pdj(
    folder: RunFolder,
    settings: PoseConfig,
    test: Part,
    skeleton: Skeleton,
    predicted: np.ndarray,
    floor: np.ndarray,
) -> None:
    """PDJ over thresholds, beside published methods where they were tested on the same images."""
    true = to_image_pixels(test.poses.joints, test.poses)

    def curve(joints: np.ndarray) -> tuple[tuple[float, ...], list[float]]:
        scores = metrics.score(joints, true, test.poses.labelled, skeleton, _CURVE, resamples=0)
        return _CURVE, [row["total"] for row in scores["pdj"].values()]

    reference = {}
    if settings.data.dataset != "synthetic" and settings.data.split == "official":
        methods = [p for p in published.PUBLISHED if p.labels == settings.data.labels]
        reference = {p.method: p.curve() for p in methods}
    figure = plots.pdj_over_thresholds({"stage 1": curve(predicted)}, reference, curve(floor))
    plots.save(figure, folder.plots / "pdj.png")


def _write_pose_grid(
    folder: RunFolder, name: str, part: Part, predicted: np.ndarray, skeleton: Skeleton
) -> None:
    """A grid of images spread over the part, with true and predicted poses on their canvases."""
    chosen = np.linspace(0, len(part.poses) - 1, min(_GRID, len(part.poses))).astype(int)
    poses = jax.tree.map(lambda array: array[chosen], part.poses)
    maps = np.asarray(poses.to_image, np.float64)
    linear = np.linalg.inv(maps[..., :2])
    on_canvas = np.einsum("nij,nkj->nki", linear, predicted[chosen] - maps[:, None, :, 2])
    figure = plots_poses.pose_grid(
        list(poses.canvases),
        poses.joints,
        on_canvas,
        poses.labelled,
        skeleton,
        f"Poses on {name} images",
        names=[part.names[i] for i in chosen],
    )
    plots.save(figure, folder.plots / f"poses_{name}.png")
