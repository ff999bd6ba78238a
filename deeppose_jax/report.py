"""What a finished run leaves behind: results.json and its plots."""

import itertools
import logging
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure
from scipy.io import savemat

from convnets_jax.phases import history
from deeppose_jax import metrics, plots, published, tables
from deeppose_jax.config import PoseConfig
from deeppose_jax.crops import crop_boxes
from deeppose_jax.data.load import Part, Parts
from deeppose_jax.data.pose_set import PoseSet
from deeppose_jax.displacements import fit_normals, observed_displacements
from deeppose_jax.predictor import to_image_pixels
from deeppose_jax.refiner_boxes import smallest_diam, to_frame
from deeppose_jax.skeleton import Skeleton
from deeppose_jax.stages import TrainedStage, measured, stage_phases
from engine_jax.plots import loss_curves, save
from engine_jax.run_folder import RunFolder

_GRID = 20  # images in a grid of poses
_ROWS = 5  # images that are shown stage by stage
_CURVE = tuple(np.round(np.arange(0.02, 0.51, 0.02), 2).tolist())  # thresholds of the PDJ curve
_PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "numpy")


def write_report(
    folder: RunFolder,
    settings: PoseConfig,
    parts: Parts,
    skeleton: Skeleton,
    stages: Sequence[TrainedStage],
    floor: np.ndarray,
) -> dict[str, Any]:
    """Scores every stage on the test part, writes results.json and the plots, prints the tables; returns the results.

    Args:
        floor: the mean training pose on every test image, [n, k, 2] in the images' pixels.
    """
    test = parts.test.poses
    true = to_image_pixels(test.joints, test)

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

    entries = [
        {
            "stage": stage.number,
            "parameters": sum(leaf.size for leaf in jax.tree.leaves(stage.fitted.best.params)),
            "epochs": stage.fitted.epochs,
            "best_epoch": stage.fitted.best_epoch,
            "seconds": round(stage.fitted.seconds, 1),
            "images_per_second": round(stage.fitted.images_per_second, 1),
            **score(stage.predictions["test"].joints),
        }
        for stage in stages
    ]
    results = {
        "task": settings.task,
        "preset": settings.preset,
        "dataset": settings.data.dataset,
        "labels": settings.data.labels,
        "split": settings.data.split,
        "splits": parts.sizes(),
        "stages": entries,
        "mean_pose": score(floor),
        "seconds": round(sum(stage.fitted.seconds for stage in stages), 1),
        "images_per_second": entries[0]["images_per_second"],
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "seed": settings.seed,
        "versions": {package: version(package) for package in _PACKAGES},
    }
    if jax.process_index() == 0:  # Every process predicts; one of them draws and writes.
        _write_scores(folder, settings, results)
        _write_pdj(folder, settings, parts.test, skeleton, stages, floor)
        _write_poses(folder, "test", parts.test, stages[-1], skeleton)
        _write_poses(folder, "train", _first(parts.train, settings), stages[-1], skeleton)
        _write_cascade(folder, settings, parts, skeleton, stages)
        _write_predictions(folder, stages, floor)
        folder.write_results(results)
        last = tables.score_table(entries[-1], results["mean_pose"])
        logging.info("Stage %d on test images\n%s\n", entries[-1]["stage"], last)
        logging.info("%s\n", tables.stages_table(entries, results["mean_pose"]))
        logging.info("results in %s, pictures in %s", folder.path / "results.json", folder.plots)
    return results


def _first(train: Part, settings: PoseConfig) -> Part:
    """The first training images, those that the stages' predictions are of."""
    count = settings.evaluation.train_images
    return Part(jax.tree.map(lambda array: array[:count], train.poses), train.names[:count])


def _write_predictions(
    folder: RunFolder, stages: Sequence[TrainedStage], floor: np.ndarray
) -> None:
    """Each stage's poses on the test part, and the mean pose, as MATLAB files for evaluate.py."""
    folder.predictions.mkdir(exist_ok=True)
    found = {f"stage_{stage.number}": stage.predictions["test"].joints for stage in stages}
    for name, joints in (found | {"mean_pose": floor}).items():
        pred = joints.transpose(2, 1, 0) + 1  # MATLAB's pixels start at 1.
        savemat(folder.predictions / f"{name}.mat", {"pred": pred})


def _write_scores(folder: RunFolder, settings: PoseConfig, results: dict[str, Any]) -> None:
    """Each stage's losses and scores by epoch, and PCP and PDJ by stage."""
    floor = results["mean_pose"]
    dotted = {row: floor[row]["four_limbs"] for row in ("pcp_strict", "pcp_loose")}
    dotted |= {f"pdj_{threshold}": row["total"] for threshold, row in floor["pdj"].items()}
    for stage in results["stages"]:
        name = f"stage_{stage['stage']}"
        rows = history(folder.metrics, stage_phases(settings, stage["stage"]))
        save(loss_curves(rows), folder.plots / f"{name}_loss.png")
        figure = plots.metric_curves(rows, dotted, stage["best_epoch"])
        save(figure, folder.plots / f"{name}_metrics.png")
    save(plots.scores_by_stage(results["stages"], floor), folder.plots / "scores.png")


def _write_pdj(
    folder: RunFolder,
    settings: PoseConfig,
    test: Part,
    skeleton: Skeleton,
    stages: Sequence[TrainedStage],
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
    curves = {f"stage {stage.number}": curve(stage.predictions["test"].joints) for stage in stages}
    figure = plots.pdj_over_thresholds(curves, reference, curve(floor))
    save(figure, folder.plots / "pdj.png")


def _write_poses(
    folder: RunFolder, name: str, part: Part, stage: TrainedStage, skeleton: Skeleton
) -> None:
    """A grid of images spread over the part, with true and predicted poses on their canvases."""
    chosen = _spread(part, _GRID)
    figure = plots.pose_grid(
        list(part.poses.canvases[chosen]),
        part.poses.joints[chosen],
        stage.predictions[name].stage.joints[chosen],
        part.poses.labelled[chosen],
        skeleton,
        f"Poses on {name} images",
        names=[part.names[i] for i in chosen],
    )
    save(figure, folder.plots / f"poses_{name}.png")


def _write_cascade(
    folder: RunFolder,
    settings: PoseConfig,
    parts: Parts,
    skeleton: Skeleton,
    stages: Sequence[TrainedStage],
) -> None:
    """Every stage's pose on some test images, what refiners saw in one of them, and the errors they learnt from."""
    if len(stages) == 1:
        return
    test = parts.test.poses
    chosen = _spread(parts.test, _ROWS)
    figure = plots.stages_row(
        list(test.canvases[chosen]),
        test.joints[chosen],
        [stage.predictions["test"].stage.joints[chosen] for stage in stages],
        test.labelled[chosen],
        skeleton,
        "Test images, stage by stage",
        names=[parts.test.names[i] for i in chosen],
    )
    save(figure, folder.plots / "stages.png")
    for before, stage in itertools.pairwise(stages):
        figure = _crops(
            settings, test, int(chosen[0]), parts.test.names[chosen[0]], stage, skeleton
        )
        save(figure, folder.plots / f"stage_{stage.number}_crops.png")
        figure = _clouds(settings, parts, before, skeleton)
        save(figure, folder.plots / f"stage_{stage.number}_displacements.png")


def _crops(
    settings: PoseConfig,
    test: PoseSet,
    image: int,
    name: str,
    stage: TrainedStage,
    skeleton: Skeleton,
) -> Figure:
    found = stage.predictions["test"].stage
    boxes = found.boxes[image]
    size = settings.refiner.model.input_size
    crops = crop_boxes(test.canvases[image][None], boxes[None], size)[0]
    return plots.refiner_crops(
        np.clip(crops, 0, 1),
        np.asarray(to_frame(found.joints[image], boxes)),
        np.asarray(to_frame(test.joints[image], boxes)),
        test.labelled[image],
        skeleton,
        f"What stage {stage.number} saw of {name}",
    )


def _clouds(settings: PoseConfig, parts: Parts, before: TrainedStage, skeleton: Skeleton) -> Figure:
    predicted, poses, part = measured(before, parts, settings)
    floor = np.asarray(smallest_diam(poses.boxes))
    errors = (predicted.joints, poses.joints, poses.labelled, skeleton, floor)
    observed, normal = observed_displacements(*errors), fit_normals(*errors)
    return plots.displacement_clouds(
        {i: observed.deltas[:count, i] for i, count in enumerate(observed.counts)},
        normal.mean,
        normal.covariance,
        skeleton,
        f"Stage {before.number} on {part} images: what stage {before.number + 1} learns to correct",
        settings.refiner.sigma,
    )


def _spread(part: Part, count: int) -> np.ndarray:
    """The indices of `count` images, evenly spread over a part."""
    return np.linspace(0, len(part.poses) - 1, min(count, len(part.poses))).astype(int)
